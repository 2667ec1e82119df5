"""The lowest layer: requests that are not proper HTTP are answered with OpenAI's error object too.

aiohttp answers those before any middleware, in plain text; its classes are extended for this. Bodies
come through as they were sent: `body.py` unpacks them.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import web

from .errors import malformed_answer
from .exchange import new_request_id

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


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not pass on; cut an answer that had begun."""
        request_id = new_request_id()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("answer broken off (request %s)", request_id, exc_info=exc)
        else:
            log.info("not a proper request: %s", message)
        if request.writer.output_size > 0:
            raise ConnectionError("An answer had begun: no other can be sent.")
        response = malformed_answer(status, message or HTTPStatus(status).phrase)
        response.headers["x-request-id"] = request_id
        response.force_close()
        return response
