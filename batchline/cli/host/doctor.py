"""`batchline doctor`: runs every check, writes a line each, exits with 1 if something is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from batchline.cli.api.options import ApiKey, AsJson
from batchline.cli.deliveries.checks_handlers import check_handlers
from batchline.cli.failure import ExitCode
from batchline.cli.render import put, put_json, say
from batchline.errors import Invalid
from batchline.serving.identity import Part, name_of
from batchline.serving.listening import shown_address, where_to_ask
from batchline.settings import Settings, load_settings

from .checks_host import (
    check_data_dir,
    check_nginx,
    check_port,
    check_store,
    check_versions,
    check_vllm,
)
from .checks_privacy import check_exposed, check_privacy
from .checks_servers import check_backends, check_gateway, check_process, check_upstream
from .findings import Finding, Level, any_wrong, finding_line, good, wrong


def doctor(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="BATCHLINE_URL", help="The gateway [default: this host's]"),
    ] = None,
    api_key: ApiKey = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Close files that other users of this host can read")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything and say what is wrong and how to mend it."""
    found = []
    for finding in examine(url=url, api_key=api_key, fix=fix):
        found.append(finding)
        if not as_json:
            put(finding_line(finding))
    if as_json:
        put_json({"ok": not any_wrong(found), "findings": [f.as_json() for f in found]})
    elif any_wrong(found):
        bad = sum(f.level is Level.WRONG for f in found)
        say(f"{bad} of {len(found)} checks found something wrong.")
    raise typer.Exit(ExitCode.ENDED_BADLY if any_wrong(found) else ExitCode.OK)


def examine(*, url: str | None, api_key: str | None, fix: bool = False) -> Iterator[Finding]:
    """Yield the findings of all checks: what others depend on comes first."""
    yield from check_versions()
    try:
        settings = load_settings()
    except Invalid as exc:
        yield wrong("settings", str(exc), "correct them; docs/settings.md lists them all")
        settings = Settings.model_construct()
    else:
        yield good("settings", "all are known and valid")
    yield from check_data_dir(settings)
    yield from check_privacy(settings, fix=fix)
    yield check_exposed(settings)
    yield from check_store(settings)
    yield from check_nginx()
    yield from check_vllm(settings)
    yield from check_handlers(settings)
    here = where_to_ask(settings.host)
    local = f"http://{shown_address(here, settings.port)}"
    gateway = list(
        check_gateway(
            url or local,
            api_key or settings.api_key,
            data_dir=settings.data_dir if _is_local(url, local) else None,
        )
    )
    others = [
        (name_of(part), host, port, list(_check_process(part, host, port, settings)))
        for part, host, port in (
            (Part.DISPATCHER, settings.dispatcher_host, settings.dispatcher_port),
            (Part.DELIVERER, settings.deliverer_host, settings.deliverer_port),
        )
    ]
    yield from check_port(
        "gateway",
        settings.host,
        settings.port,
        ours=_is_local(url, local) and _is_well(gateway),
    )
    for name, host, port, found in others:
        yield from check_port(name, host, port, ours=_is_well(found))
    yield from gateway
    for _, _, _, found in others:
        yield from found
    yield from check_upstream(settings)
    yield from check_backends(settings, now=time.time())


def _check_process(part: Part, host: str, port: int, settings: Settings) -> Iterator[Finding]:
    url = f"http://{shown_address(where_to_ask(host), port)}"
    return check_process(part, url, data_dir=settings.data_dir)


def _is_local(url: str | None, local: str) -> bool:
    """Whether the gateway at `url` is the one of these settings; another one tells nothing about them."""
    return url is None or url == local


def _is_well(findings: Iterable[Finding]) -> bool:
    return next(iter(findings)).level is Level.OK
