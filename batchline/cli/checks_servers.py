"""Doctor's checks of what should answer over HTTP: gateway, dispatcher, upstream, backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from batchline.errors import StoreUnavailable
from batchline.outliers import outliers
from batchline.settings import Settings
from batchline.store import last_report

from .client import Client
from .failure import Failure
from .findings import Finding, good, warning, wrong
from .render import clean

_READ_S = 5.0
_FRESH_S = 15  # a dispatcher that runs has reported since
_REASONS_SHOWN = 5


def check_gateway(url: str, api_key: str | None) -> Iterator[Finding]:
    """The gateway's process answers, and says that a batch would run."""
    is_well, body = _look(url, "/health", api_key)
    if not is_well:
        yield wrong(
            "gateway",
            f"{url}: {_reasons(body)}",
            "start it: batchline serve, batchline up or compose",
        )
        return
    yield good("gateway", f"{url} answers")
    is_ready, body = _look(url, "/ready", api_key)
    if is_ready:
        yield good("ready", "a batch would run now")
    else:
        yield wrong("ready", _reasons(body), "the lines below say which part is at fault")


def check_dispatcher(port: int) -> Iterator[Finding]:
    """The dispatcher's process answers."""
    url = f"http://127.0.0.1:{port}"
    is_well, body = _look(url, "/health", None)
    if is_well:
        yield good("dispatcher", f"{url} answers")
    else:
        yield wrong(
            "dispatcher", f"{url}: {_reasons(body)}", "start it: batchline serve, up or compose"
        )


def check_upstream(settings: Settings) -> Iterator[Finding]:
    """Lines can be sent, and some model is served."""
    url = settings.upstream_url
    is_well, body = _look(url, "/v1/models", settings.upstream_api_key)
    models = _models(body) if is_well else []
    if models:
        yield good("upstream", f"{url} serves {', '.join(models)}")
    elif is_well:
        yield wrong("upstream", f"{url} serves no model", "look at the model servers' logs")
    else:
        yield wrong("upstream", f"{url}: {_reasons(body)}", "start nginx and the model servers")


def check_backends(settings: Settings, *, now: float) -> Iterator[Finding]:
    """Each model server answers and serves a model: those of the settings, or of the running fleet."""
    urls = settings.backend_urls or _reported(settings, now=now)
    if not urls:
        yield warning(
            "backends",
            "none are named, so their health and load are unknown",
            "name them with BATCHLINE_BACKEND_URLS",
        )
    listed: dict[str, list[str]] = {}
    for url in urls:
        is_well, body = _look(url, "/health", settings.upstream_api_key)
        if not is_well:
            yield wrong("backend", f"{url}: {_reasons(body)}", "look at this server's log")
            continue
        is_serving, body = _look(url, "/v1/models", settings.upstream_api_key)
        models = _models(body) if is_serving else []
        listed[url] = models
        if models:
            yield good("backend", f"{url} serves {', '.join(models)}")
        else:
            yield wrong("backend", f"{url} serves no model", "look at this server's log")
    for url in outliers(listed):
        yield warning(
            "backend",
            f"{url} serves other models than most, and gets only lines for these",
            "start it with the model of the others, if that is not meant",
        )


def _reported(settings: Settings, *, now: float) -> Sequence[str]:
    """Return the backends that the dispatcher of this data directory looks at, if one is running.

    `batchline up` names them to its own processes only.
    """
    if not settings.database_path.exists():
        return ()
    try:
        report = last_report(settings.database_path)
    except StoreUnavailable:
        return ()  # the check of the database says so
    if report is None or now - report.at > _FRESH_S:
        return ()
    urls = [backend.url for backend in report.backends]
    # Without named backends the dispatcher looks at the upstream itself, which is checked above.
    return () if urls == [settings.upstream_url.rstrip("/")] else urls


def _look(url: str, path: str, api_key: str | None) -> tuple[bool, Any]:
    """Return whether it answers well, and what it says, or why it does not."""
    try:
        with Client(url, api_key, read_s=_READ_S) as client:
            return client.probe(path)
    except Failure as failure:
        return False, failure.why or failure.what


def _models(body: Any) -> list[str]:
    rows = body.get("data") if isinstance(body, dict) else None
    names = (
        [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    )
    return [clean(str(name), limit=100) for name in names]


def _reasons(body: Any) -> str:
    if isinstance(body, dict):
        reasons = body.get("reasons")
        if isinstance(reasons, list) and reasons:
            return "; ".join(clean(str(r), limit=300) for r in reasons[:_REASONS_SHOWN])
        error = body.get("error")
        if isinstance(error, dict):
            return clean(str(error.get("message")), limit=300)
    return clean(str(body), limit=300) or "it answers with an error"
