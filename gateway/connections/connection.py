"""One connection: what aiohttp handles below all middleware, and what is changed there.

A request that is not valid HTTP is answered with OpenAI's error object (aiohttp: plain text). Work for a
client that leaves is cancelled, where a handler asks for it (aiohttp: for every handler or for none). Bodies
are passed on as they were sent; `body.py` unpacks them. Waiting for a head, or for a client to take its
answer, is bounded, and so is the number of connections (`bound.py`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web, web_protocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from batchline.metrics import Metrics
from batchline.process.service import give_back_memory
from batchline.serving.request_log import REQUESTS, forget_frames
from gateway.answer_headers import request_id, stamp
from gateway.errors import RETRY_AFTER, http_answer, malformed_answer
from gateway.keys import METRICS

from .bound import Connections, Cut, Entry, Limits
from .paced_parsing import TurnTaker

_UNSENT_BYTES = (
    128 * 1024
)  # in the kernel, beside what is on its way; without a limit it takes megabytes
_ALIVE = "/health"
_EBB_S = 1.0  # until the memory of the closed ones is free


log = logging.getLogger(REQUESTS)


class Runner(web.AppRunner):
    """An AppRunner whose connections are `Connection`s."""

    __slots__ = ("_limits",)

    def __init__(self, app: web.Application, *, limits: Limits, **options: Any) -> None:
        super().__init__(app, **options)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            limits=self._limits,
            metrics=self.app[METRICS],
            request_factory=plain.request_factory,
            auto_decompress=False,
            **plain._kwargs,  # noqa: SLF001
        )


class _Server(web.Server):
    def __init__(self, handler: Any, *, limits: Limits, metrics: Metrics, **options: Any) -> None:
        super().__init__(handler, **options)
        self._all = Connections(limits, metrics, on_ebb=self._give_back_soon)
        self._giving: asyncio.TimerHandle | None = None

    def __call__(self) -> web.RequestHandler:
        return Connection(self, connections=self._all, loop=self._loop, **self._kwargs)

    def _give_back_soon(self) -> None:
        if self._giving is None:
            self._giving = self._loop.call_later(_EBB_S, self._give_back)

    def _give_back(self) -> None:
        self._giving = None
        give_back_memory()


class Connection(TurnTaker):
    """One client's connection."""

    __slots__ = ("_all", "_has_begun", "_head_timer", "_is_surplus", "_presences", "_taking_timer")

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._all = connections
        self._is_surplus = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._taking_timer: asyncio.TimerHandle | None = None
        self._presences: set[asyncio.Timeout] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, if there is room for one more connection."""
        super().connection_made(transport)
        _bound_what_waits(self.transport)
        self._head_timer = self._loop.call_later(self._all.limits.head_s, self._end_late_head)
        entry = self._all.opened(self)
        self._is_surplus = entry is Entry.SURPLUS
        if entry is Entry.DROPPED and self.transport is not None:
            self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, and nothing waits for its client."""
        return self._waiter is not None and not self._waiter.done() and self._taking_timer is None

    def end(self) -> None:
        """Close it now."""
        self.force_close()

    # -- the head

    def parse(self, data: bytes) -> None:
        """End a body that is arriving if it is malformed: aiohttp would let its handler wait for more."""
        super().parse(data)
        self._time_head()
        arriving = self._current_request.content if self._current_request else EMPTY_PAYLOAD
        if arriving.is_eof() or not self._messages:
            return
        if self._messages[-1][1] is EMPTY_PAYLOAD:
            # After a body without an end only the parser's error can follow.
            self._messages.clear()
            arriving.set_exception(web.RequestPayloadError("The body is broken."))
            arriving.feed_eof()
            self.close()

    def _time_head(self) -> None:
        """Run the timer while a head is incomplete."""
        if self._waiter is None or self._waiter.done():  # it is complete, or something else arrives
            self._has_begun = False
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        else:
            self._has_begun = True
            if self._head_timer is None:
                head_s = self._all.limits.head_s
                self._head_timer = self._loop.call_later(head_s, self._end_late_head)

    def _end_late_head(self) -> None:
        self._head_timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        self._all.cut(Cut.LATE_HEAD)
        if not self._has_begun:
            self.force_close()
            return
        message = f"The request's head did not arrive within {self._all.limits.head_s:g} s. Send it again."
        late = web_protocol._ErrInfo(  # noqa: SLF001
            status=HTTPStatus.REQUEST_TIMEOUT, exc=TimeoutError(), message=message
        )
        self._messages.append((late, EMPTY_PAYLOAD))
        waiter.set_result(None)

    # -- what a client takes

    def pause_writing(self) -> None:
        """Start the timer: bytes wait for the client to take them."""
        super().pause_writing()
        if self.transport is not None:
            wait_s = self._all.limits.wait_s(self.transport.get_write_buffer_size())
            self._taking_timer = self._loop.call_later(wait_s, self._end_slow, self.transport)

    def resume_writing(self) -> None:
        """Stop the timer: the client has taken all of them."""
        super().resume_writing()
        self._stop_taking_timer()

    def _stop_taking_timer(self) -> None:
        if self._taking_timer is not None:
            self._taking_timer.cancel()
            self._taking_timer = None

    def _end_slow(self, transport: asyncio.WriteTransport) -> None:
        self._taking_timer = None
        self._all.cut(Cut.SLOW_READER)
        transport.abort()  # a close would wait for the client

    # -- the end

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel what runs for this client only."""
        super().connection_lost(exc)
        self._all.closed(self)
        self._stop_taking_timer()
        if self._head_timer is not None:
            self._head_timer.cancel()
        for presence in self._presences:
            presence.reschedule(self._loop.time())

    @asynccontextmanager
    async def while_present(self) -> AsyncIterator[None]:
        """Cancel the body when the client leaves; ConnectionResetError is raised then."""
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

    # -- answers that no handler gives

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Answer 503 if there is no room, except to the liveness check."""
        if self._is_surplus and request.path != _ALIVE:
            request_handler = self._turn_away
        try:
            return await super()._handle_request(request, start_time, request_handler)
        except ConnectionError as exc:
            forget_frames(exc)
            raise

    async def _turn_away(self, request: web.BaseRequest) -> web.StreamResponse:
        response = _stamped(
            request,
            malformed_answer(
                request,
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"All {self._all.limits.most} connections of this server are busy "
                "(BATCHLINE_MAX_CONNECTIONS). Ask again in a moment.",
            ),
        )
        response.headers.update(RETRY_AFTER)
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Give OpenAI's form also to what aiohttp refuses before any middleware (`Expect`)."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = http_answer(request, resp)
        if self._is_surplus:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that aiohttp could not pass on; cut an answer that had begun."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client has left, or must see a torn answer, which was logged already
        name = request_id(request)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("%s: answer broken off", name, exc_info=exc)
        else:
            log.info("%s: not a proper request: %s", name, message)
            forget_frames(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("An answer had begun: no other can be sent.")
        reason = _reason(exc, message) or HTTPStatus(status).phrase
        return _stamped(request, malformed_answer(request, status, reason))


def _bound_what_waits(transport: asyncio.Transport | None) -> None:
    """Make a writer wait as soon as the kernel takes no more, and until it has taken all."""
    if transport is None:
        return
    transport.set_write_buffer_limits(high=0, low=0)
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    wire = transport.get_extra_info("socket")
    if option is not None and wire is not None and wire.family in (socket.AF_INET, socket.AF_INET6):
        wire.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)


def _stamped(request: web.BaseRequest, response: web.Response) -> web.Response:
    stamp(request, response)
    response.force_close()
    return response


def _reason(exc: BaseException | None, message: str | None) -> str | None:
    """Say what is wrong with a request that is not valid HTTP, mostly in aiohttp's words."""
    if isinstance(exc, LineTooLong):  # aiohttp would repeat the line
        return (
            f"A line of the request's head is longer than {exc.args[1]} bytes. Send shorter headers, "
            "or a shorter URL."
        )
    return message
