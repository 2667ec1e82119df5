"""What clients send as `expires_after` and `output_expires_after`, checked. Pure; raises Invalid."""

from __future__ import annotations

from . import parameters

MIN_EXPIRY_S = 3600
MAX_EXPIRY_S = 30 * 86400


def expiry(value: parameters.Json, *, param: str) -> int | None:
    """Read an optional `{"anchor": "created_at", "seconds": n}`: the seconds. Raises Invalid."""
    if value is None:
        return None
    fields = parameters.mapping(value, param=param)
    anchor = parameters.required(fields, "anchor", param=f"{param}.anchor")
    parameters.choice(anchor, ("created_at",), param=f"{param}.anchor")
    return parameters.integer(
        parameters.required(fields, "seconds", param=f"{param}.seconds"),
        param=f"{param}.seconds",
        lowest=MIN_EXPIRY_S,
        highest=MAX_EXPIRY_S,
    )
