"""A server of the harness: it can vanish and come back, always on the same port."""

from __future__ import annotations

from aiohttp import web


class Listening:
    """What a model server and the receiver of webhooks have in common."""

    port = 0

    async def open(self, app):
        """Begin to serve."""
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await self.listen()

    async def close(self):
        """Serve no more, for good."""
        await self._runner.cleanup()

    @property
    def address(self):
        """Return host:port."""
        return f"127.0.0.1:{self.port}"

    async def listen(self):
        """Accept connections (again), always on the same port."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await self._site.start()
        self.port = self._site._server.sockets[0].getsockname()[1]

    async def vanish(self):
        """Cut every connection and accept no more, as a server that was killed."""
        await self._site.stop()
        self.hang_up()

    def hang_up(self):
        """Cut every connection."""
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
