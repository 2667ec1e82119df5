"""What the connections use of aiohttp that it does not promise, looked for before the gateway starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import aiohttp
from aiohttp import web, web_protocol

from batchline.errors import Unavailable

KNOWN_TO_WORK = ("3.14.5",)

_OF_CONNECTIONS = (
    "_buffer_paused",
    "_current_request",
    "_loop",
    "_messages",
    "_pause_transport_reading",
    "_reading_paused",
    "_resume_transport_reading",
    "_waiter",
)
_OF_SERVERS = ("_kwargs", "_loop", "request_factory", "request_handler")
_CALLED: Mapping[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "AppRunner._make_server": (lambda: web.AppRunner._make_server, ("self",)),  # noqa: SLF001
    "RequestHandler._handle_request": (
        lambda: web.RequestHandler._handle_request,  # noqa: SLF001
        ("self", "request", "start_time", "request_handler"),
    ),
    "RequestHandler.finish_response": (
        lambda: web.RequestHandler.finish_response,
        ("self", "request", "resp", "start_time"),
    ),
    "RequestHandler.handle_error": (
        lambda: web.RequestHandler.handle_error,
        ("self", "request", "status", "exc", "message"),
    ),
    "web_protocol._ErrInfo": (lambda: web_protocol._ErrInfo, ("status", "exc", "message")),  # noqa: SLF001
}
"""What is called or overridden, with its parameters."""


async def check_aiohttp() -> None:
    """Check that this version of aiohttp has all that is used. Raises Unavailable: names what it lacks."""
    if lacks := list(_lacks()):
        raise Unavailable(
            f"aiohttp {aiohttp.__version__} lacks what the gateway's connections use: {', '.join(lacks)}. "
            f"Install a version that is known to work: {' or '.join(KNOWN_TO_WORK)}."
        )


def _lacks() -> Iterator[str]:
    server = web.Server(_never)  # some attributes are there only once it is made
    connection = server()
    yield from (f"Server.{name}" for name in _OF_SERVERS if not hasattr(server, name))
    yield from (f"RequestHandler.{n}" for n in _OF_CONNECTIONS if not hasattr(connection, n))
    for name, (find, parameters) in _CALLED.items():
        try:
            found = tuple(inspect.signature(find()).parameters)
        except AttributeError:
            yield name
        else:
            if found != parameters:
                yield f"{name}({', '.join(parameters)})"


async def _never(_: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("no connection is made")
