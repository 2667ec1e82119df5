"""One bounded question to a local server: does this path answer 200?"""

from __future__ import annotations

import asyncio

_TIMEOUT_S = 5.0  # a CPU server that is generating answers late


async def is_healthy(host: str, port: int, path: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
    """Return whether `GET path` answers 200 within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            return b" 200 " in await _status_line(host, port, path)
    except (OSError, TimeoutError, ValueError):
        return False


async def _status_line(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
