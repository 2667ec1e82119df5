"""A well server and sick ones, real nginx before them, and lines to send: what the tests beside it share."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

from aiohttp import web
from real_nginx import behind_nginx
from scripted import Scripted, error
from waiting import until

from benchmarks import sickness

LINES = 200
FEW = 40
"""So many of them at most are ever sent to a sick server: a fifth, and it would be the faster one."""


def sick(form):
    """Return a script that answers everything in this form."""
    return lambda body, attempt: web.Response(
        status=form.status, body=form.body, content_type=form.kind, headers=form.headers
    )


def well(endpoint=sickness.CHAT):
    """Return a script that answers every whole request, also one of the dispatcher's own."""
    answer, needed = sickness.answer(endpoint), set(sickness.request(endpoint, ""))

    def script(body, attempt):
        if missing := needed - set(body):
            return error(400, f"{', '.join(sorted(missing))} is missing.")
        return web.Response(body=answer, content_type="application/json")

    return script


def lines(count=LINES, *, endpoint=sickness.CHAT, first=0, **fields):
    """Write an input file; a line's `tag` names it to the servers."""
    return "\n".join(
        json.dumps(
            {
                "custom_id": f"id-{n}",
                "method": "POST",
                "url": endpoint,
                "body": sickness.request(endpoint, f"q{n}") | {"tag": f"t{n}"} | fields,
            }
        )
        for n in range(first, first + count)
    )


def sends(server):
    """Count how often lines were sent to a server."""
    return server.seen.total()


@asynccontextmanager
async def two_servers(bench, folder):
    """Run a sick and a well server behind nginx; yield them with the settings that name them."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Scripted()) for _ in range(2)]
        for server in servers:
            server.is_sick = True
        settings = await stack.enter_async_context(
            behind_nginx(bench, folder, *(server.url for server in servers))
        )
        yield SimpleNamespace(sick=servers[0], well=servers[1], settings=settings)


async def said(bench):
    """Return what `/ready` and the dashboard say of why lines wait."""
    report = await bench.store.fleet_report()
    return "" if report is None else "; ".join([report.paused or "", *report.waiting.values()])


async def backend(bench, server):
    """Return what was last reported of a server; None before the first look."""
    report = await bench.store.fleet_report()
    found = report.backends if report else ()
    return next((one for one in found if one.url == server.url), None)


async def until_said(bench, *words):
    """Wait until all of this is said of why lines wait."""

    async def is_said():
        text = await said(bench)
        return all(word in text for word in words)

    try:
        await until(is_said)
    except TimeoutError:
        raise AssertionError(f"{words} was never said, but: {await said(bench)!r}") from None
