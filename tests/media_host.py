"""A host of media files: a real server that a test scripts, known by names that lead to it."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

NAME = "media.test"
WAV = b"RIFF" + bytes(range(256)) * 4
HANG, CUT = "hang", "cut"


class MediaHost:
    """Answers each path with `files[path]`: bytes, a status, a Response, HANG, CUT, or what gives one."""

    def __init__(self, **files):
        self.files = {"/a.wav": WAV} | files
        self.asked = Counter()
        self.headers = []
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.in_flight = self.most_in_flight = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc):
        self.release.set()
        await self._runner.cleanup()

    def url(self, path="/a.wav", name=NAME):
        """The URL of a file there."""
        return f"http://{name}:{self.port}{path}"

    def look_up(self, host, port):
        """Lead the host's name, and all below it, here; others do not exist."""
        if host == NAME or host.endswith("." + NAME):
            return ["127.0.0.1"]
        raise OSError("no such name")

    async def _answer(self, request):
        self.asked[request.path] += 1
        self.headers.append(request.headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.begun.set()
        try:
            return await self._perform(request, self.files.get(request.path, 404))
        finally:
            self.in_flight -= 1

    async def _perform(self, request, found):
        if callable(found):
            found = found(self.asked[request.path])
        match found:
            case int():
                return web.Response(status=found)
            case bytes():
                return web.Response(body=found, content_type="audio/x-wav")
            case "hang":
                await self.release.wait()
                return web.Response(body=WAV)
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b"RIFF")
                request.transport.abort()
                return response
        return found


def moved(location, status=302):
    """Redirect."""
    return lambda _: web.Response(status=status, headers={"Location": location})
