"""How a request's body is written: a long one piece by piece, so that it is in memory once and not twice."""

from __future__ import annotations

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload, Payload

_PIECE_BYTES = 256 << 10
_LONG_BYTES = 1 << 20


class _LongPayload(Payload):
    """Bytes that the connection takes as fast as the other side reads them. May be written again."""

    _autoclose = True  # nothing to close
    _value: bytes | bytearray

    def __init__(self, value: bytes | bytearray, *, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text (for aiohttp's own use)."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it."""
        whole = memoryview(self._value)
        for start in range(0, len(whole), _PIECE_BYTES):
            await writer.write(whole[start : start + _PIECE_BYTES])


def payload(body: bytes | bytearray, *, content_type: str) -> Payload:
    """Wrap a body for sending."""
    kind = _LongPayload if len(body) > _LONG_BYTES else BytesPayload
    return kind(body, content_type=content_type)
