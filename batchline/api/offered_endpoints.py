"""Whether the fleet offers an endpoint, by what the dispatcher last saw of it. Pure; raises Invalid."""

from __future__ import annotations

from batchline.errors import Invalid
from batchline.model import FleetReport

from .endpoints import ENDPOINTS
from .parameters import listed


def check_offered(endpoint: str, report: FleetReport | None, *, now: float) -> None:
    """Refuse an endpoint that every model server is known not to offer. Raises Invalid.

    One that is down, or does not tell, might offer it: then a batch for it is taken, and waits if need be.
    """
    if report is None or not report.backends or report.silent_s(now=now):
        return
    offered: set[str] = set()
    for backend in report.backends:
        if backend.endpoints is None:
            return
        offered.update(backend.endpoints)
    if endpoint not in offered:
        known = [one for one in ENDPOINTS if one in offered]
        raise Invalid(
            f"No model server here offers '{endpoint}'. Offered are: {listed(known)}. Use one of these, or "
            "ask the operator to start a server that offers it.",
            param="endpoint",
            code="invalid_value",
        )
