"""Doctor's checks of what answers HTTP: our processes, upstream, backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from batchline.api.endpoints import MODELS
from batchline.cli.api.client import Client
from batchline.cli.failure import Failure
from batchline.cli.render import clean
from batchline.errors import StoreUnavailable
from batchline.odd_model_lists import odd_lists
from batchline.serving.identity import Part, is_ours, is_part, name_of
from batchline.settings import Settings
from batchline.store import last_report

from .findings import Finding, good, warning, wrong

_READ_S = 5.0
_REASONS_SHOWN = 5
_KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class _Seen:
    """The answer to one request. Without a status there was none, and the body says why."""

    status: int | None
    body: Any

    @property
    def is_well(self) -> bool:
        return HTTPStatus.OK <= (self.status or 0) < HTTPStatus.MULTIPLE_CHOICES

    @property
    def refuses_key(self) -> bool:
        return self.status in _KEY_REFUSED


def check_gateway(
    url: str, api_key: str | None, *, data_dir: Path | None = None
) -> Iterator[Finding]:
    """The gateway answers, and a batch would run. `data_dir`: that of the gateway on this host."""
    seen = _look(url, "/health", api_key)
    if not seen.is_well:
        yield wrong(
            "gateway",
            f"{url}: {_reasons(seen.body)}",
            "start it: batchline serve, batchline up or compose",
        )
        return
    if not is_part(Part.GATEWAY, seen.body):
        yield wrong(
            "gateway",
            f"{url} answers, but is no gateway of batchline",
            "end the program that has its port, or name the gateway's address with --url",
        )
        return
    yield good("gateway", f"{url} answers")
    if data_dir is not None and not is_ours(Part.GATEWAY, seen.body, data_dir=data_dir):
        yield warning(
            "gateway",
            f"{url} works on another data directory than {data_dir}",
            "name its directory with BATCHLINE_DATA_DIR, so that the right one is looked at",
        )
    ready = _look(url, "/ready", api_key)
    if ready.is_well:
        yield good("ready", "a batch would run now")
    else:
        yield wrong("ready", _reasons(ready.body), "the lines below say which part is at fault")


def check_process(part: Part, url: str, *, data_dir: Path) -> Iterator[Finding]:
    """The dispatcher or deliverer of this data directory answers, and no other program on its port."""
    name = name_of(part)
    seen = _look(url, "/health", None)
    if not seen.is_well:
        yield wrong(
            name,
            f"{url}: {_reasons(seen.body)}",
            "start it: batchline serve, up or compose",
        )
    elif is_ours(part, seen.body, data_dir=data_dir):
        yield good(name, f"{url} answers")
    else:
        is_one = is_part(part, seen.body)
        who = (
            f"the {name} of another data directory than {data_dir}" if is_one else "another program"
        )
        yield wrong(
            name,
            f"{url} answers, but it is {who}",
            f"give each a port of its own with BATCHLINE_{name.upper()}_PORT",
        )


def check_upstream(settings: Settings) -> Iterator[Finding]:
    """The upstream answers and serves a model."""
    url, key = settings.upstream_url, settings.upstream_api_key
    seen = _look(url, MODELS, key)
    if seen.status is None or seen.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        yield wrong(
            "upstream", f"{url}: {_reasons(seen.body)}", "start nginx and the model servers"
        )
    else:
        yield _serving("upstream", url, seen, key=key)


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
        seen = _look(url, "/health", settings.upstream_api_key)
        if seen.is_well or seen.status == HTTPStatus.NOT_FOUND:  # not every server has it
            seen = _look(url, MODELS, settings.upstream_api_key)
            listed[url] = _models(seen)
        yield _serving("backend", url, seen, key=settings.upstream_api_key)
    for url in odd_lists(listed):
        yield warning(
            "backend",
            f"{url} serves other models than most, and gets only lines for these",
            "start it with the model of the others, if that is not meant",
        )


def _serving(check: str, url: str, seen: _Seen, *, key: str | None) -> Finding:
    """Distinguish a server that serves a model, one that refuses the key, and one that does not work."""
    log = "look at this server's log"
    if models := _models(seen):
        return good(check, f"{url} serves {', '.join(models)}")
    if seen.is_well:
        return wrong(check, f"{url} serves no model", log)
    if seen.refuses_key:
        did = "refuses our key" if key else "demands a key, and none is set"
        return wrong(
            check,
            f"{url} {did} ({seen.status}): {_reasons(seen.body)}",
            "set BATCHLINE_UPSTREAM_API_KEY to the key that it was started with",
        )
    if seen.status is None:
        return wrong(check, f"{url}: {_reasons(seen.body)}", "start it; its log says why it ended")
    return wrong(check, f"{url} answers {seen.status}: {_reasons(seen.body)}", log)


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
    if report is None or report.silent_s(now=now):
        return ()
    urls = [backend.url for backend in report.backends]
    # Without named backends the dispatcher looks at the upstream itself, which is checked above.
    return () if urls == [settings.upstream_url] else urls


def _look(url: str, path: str, api_key: str | None) -> _Seen:
    try:
        with Client(url, api_key, read_s=_READ_S) as client:
            return _Seen(*client.probe(path))
    except Failure as failure:
        return _Seen(None, failure.why or failure.what)


def _models(seen: _Seen) -> list[str]:
    rows = seen.body.get("data") if seen.is_well and isinstance(seen.body, dict) else None
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
        if isinstance(error, str):  # vLLM's own refusal of a key
            return clean(error, limit=300)
    return clean(str(body), limit=300) or "it answers with an error"
