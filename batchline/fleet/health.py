"""One bounded question to a local server: does this path answer 200, and does the one who was meant?"""

from __future__ import annotations

import asyncio
import json

from batchline.serving.identity import Part, is_process
from batchline.serving.listening import shown_address

_TIMEOUT_S = 5.0  # a CPU server that is generating answers late
_MOST_BYTES = 64 * 1024


async def is_healthy(
    host: str,
    port: int,
    path: str,
    *,
    part: Part | None = None,
    pid: int = 0,
    timeout_s: float = _TIMEOUT_S,
) -> bool:
    """Return whether `GET path` answers 200 within `timeout_s`; where `part` is given, from process `pid`."""
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _answer(host, port, path, with_body=part is not None)
    except (OSError, TimeoutError, ValueError):
        return False
    return b" 200 " in status and (part is None or _is_from(part, pid, body))


def _is_from(part: Part, pid: int, body: bytes) -> bool:
    try:
        return is_process(part, json.loads(body), pid=pid)
    except ValueError:
        return False


async def _answer(host: str, port: int, path: str, *, with_body: bool) -> tuple[bytes, bytes]:
    """Return the status line, and the body or as much of it as is looked at."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        address = shown_address(host, port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        status, rest = await reader.readline(), bytearray()
        while with_body and len(rest) < _MOST_BYTES and (piece := await reader.read(_MOST_BYTES)):
            rest += piece
        return status, bytes(rest.partition(b"\r\n\r\n")[2])
    finally:
        writer.close()
