"""For operators: `/health` (this process), `/ready` (can a batch run now), `/metrics`."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from batchline.errors import NewerStore, StoreUnavailable
from batchline.model import BackendStatus, FleetReport
from batchline.serving.identity import Part, identity
from gateway.keys import BLOBS, METRICS, SETTINGS, STORE, now


async def health(request: web.Request) -> web.Response:
    """GET /health: the process answers. Does not check the store or the fleet."""
    return web.json_response(identity(Part.GATEWAY, request.app[SETTINGS].data_dir))


async def ready(request: web.Request) -> web.Response:
    """GET /ready: 200, or 503 with every reason why a batch would not run at present.

    A single batch that waits, such as for disk space to publish its results, is named, but the answer stays
    200; the same holds for a faulty backend while others take lines.
    """
    store = request.app[STORE]
    try:
        await store.check_writable()
        report = await store.fleet_report()
    except (StoreUnavailable, NewerStore) as exc:
        # The dispatcher cannot report then: its last report would mislead.
        return _not_ready([f"the store refuses: {exc}"])
    if reasons := fleet_reasons(report, now=now(request)):
        return _not_ready(reasons)
    assert report is not None, "its absence is a reason"
    more = {"waiting": report.waiting, "backends": troubles(report)}
    return web.json_response(
        {"status": "ready"} | {name: told for name, told in more.items() if told}
    )


def _not_ready(reasons: list[str]) -> web.Response:
    body = {"status": "not ready", "reasons": reasons}
    return web.json_response(body, status=HTTPStatus.SERVICE_UNAVAILABLE)


def fleet_reasons(report: FleetReport | None, *, now: int) -> list[str]:
    """List all reasons why no line can be sent at present."""
    if report is None:
        return ["no dispatcher has ever reported: is it running?"]
    if silent_s := report.silent_s(now=now):
        return [f"the dispatcher last reported {silent_s:.0f} s ago: is it running?"]
    reasons = [] if report.paused is None else [f"dispatch is paused: {report.paused}"]
    if report.alive:
        return reasons
    if not report.backends:
        return [*reasons, "the dispatcher knows no backend"]
    return reasons + [f"backend {name} {told}" for name, told in troubles(report).items()]


def troubles(report: FleetReport) -> dict[str, str]:
    """List the fault of each faulty backend, with its name."""
    return {b.name: told for b in report.backends if (told := _trouble(b)) is not None}


def _trouble(backend: BackendStatus) -> str | None:
    if not backend.alive:
        return f"is not alive: {backend.reason or 'no reason known'}"
    if backend.circuit == "open":
        return f"gets no lines: {backend.trouble or 'no reason known'}"
    return backend.trouble


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics, in Prometheus' text format."""
    instruments = request.app[METRICS]
    instruments.disk_free_bytes.set(request.app[BLOBS].free_bytes())
    return web.Response(
        body=generate_latest(instruments.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )
