"""An upstream that answers at once: the least HTTP/1.1 server that keeps connections alive.

Run as `python -m benchmarks.instant PORT`. Answers every POST with one fixed chat completion of about
1 KB, /health and /v1/models with 200, everything else with 404.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-instant",
        "object": "chat.completion",
        "created": 0,
        "model": "instant",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "All is well. " * 55},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200},
    }
).encode()
_MODELS = b'{"object": "list", "data": [{"id": "instant", "object": "model"}]}'


def _response(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_OK = _response(b"200 OK", _ANSWER)
_LIST = _response(b"200 OK", _MODELS)
_EMPTY = _response(b"200 OK", b"{}")
_MISSING = _response(b"404 Not Found", b"{}")


class Instant(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        """Answer one request by its head in lower case."""
        assert self._transport is not None
        self._transport.write(_answer(head))


def _answer(head: bytes) -> bytes:
    if head.startswith(b"post"):
        return _OK
    if head.startswith(b"get /health"):
        return _EMPTY
    return _LIST if head.startswith(b"get /v1/models") else _MISSING


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(
        Instant, "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
