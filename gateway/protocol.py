"""The lowest layer: what only the connection knows, and no middleware sees.

Requests that are not proper HTTP are answered with OpenAI's error object (aiohttp: plain text); what runs
for a client ends when it leaves, where that is asked for (aiohttp: for every handler or for none); bodies
come through as they were sent: `body.py` unpacks them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from .errors import http_answer, malformed_answer
from .exchange import SERVER, new_request_id
from .turns import TurnTaker

log = logging.getLogger("gateway")


class Runner(web.AppRunner):
    """An AppRunner whose connections are `Connection`s."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            auto_decompress=False,
            **plain._kwargs,  # noqa: SLF001
        )


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(TurnTaker):
    """One client's connection."""

    __slots__ = ("_presences",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._presences: set[asyncio.Timeout] = set()

    def parse(self, data: bytes) -> None:
        """End the body that is arriving if it breaks: aiohttp would let its handler wait for more."""
        super().parse(data)
        arriving = self._current_request.content if self._current_request else EMPTY_PAYLOAD
        if arriving.is_eof() or not self._messages:
            return
        if self._messages[-1][1] is EMPTY_PAYLOAD:
            # Nothing follows a body without an end but the parser's word that it is broken.
            self._messages.clear()
            arriving.set_exception(web.RequestPayloadError("The body is broken."))
            arriving.feed_eof()
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what runs for this client only."""
        super().connection_lost(exc)
        for presence in self._presences:
            presence.reschedule(self._loop.time())

    @asynccontextmanager
    async def while_present(self) -> AsyncIterator[None]:
        """Cancel the body when the client leaves: ConnectionResetError comes out of it then."""
        try:
            async with asyncio.timeout(None) as presence:
                self._presences.add(presence)
                if self.transport is None:
                    presence.reschedule(self._loop.time())
                yield
        except TimeoutError as exc:
            if presence.expired():
                raise ConnectionResetError("The client has left.") from exc
            raise
        finally:
            self._presences.discard(presence)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Put what aiohttp refused before any middleware (`Expect`) into OpenAI's form too."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = http_answer(request, resp)
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not pass on; cut an answer that had begun."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left, or shall see a torn answer; whoever tore it logged it
        request_id = new_request_id()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("answer broken off (request %s)", request_id, exc_info=exc)
        else:
            log.info("not a proper request: %r", message)
        if request.writer.output_size > 0:
            raise ConnectionError("An answer had begun: no other can be sent.")
        response = malformed_answer(status, _reason(exc, message) or HTTPStatus(status).phrase)
        response.headers["x-request-id"] = request_id
        response.headers["Server"] = SERVER
        response.force_close()
        return response


def _reason(exc: BaseException | None, message: str | None) -> str | None:
    """Say what is wrong with a request that is not proper HTTP; aiohttp's word for most of it."""
    if isinstance(exc, LineTooLong):  # aiohttp would repeat the line
        return (
            f"A line of the request's head is longer than {exc.args[1]} bytes. Send shorter headers, "
            "or a shorter URL."
        )
    return message
