"""Compressed input: which codings are taken, how they are named, and their bounded unpacking.

Pure and synchronous: callers that unpack much run each step in a thread. Hostile input is bounded: a step
gives at most `PIECE_BYTES`, memory does not grow with the input, and input that is cut short, damaged or
followed by something else is Invalid.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from enum import StrEnum

from batchline.errors import Invalid, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 1 << 18
_SLICE_BYTES = 1 << 14  # what follows the end of a member is copied, which is cheap for small steps
_GZIP_WINDOW = 31  # zlib: 15 bits of window, gzip's header and checksums
_ZSTD_WINDOW_LOG = 23  # 8 MiB: the most that RFC 9659 §3 allows; levels up to 19 use no more
_FREE_MEMBERS = 10_000
_MEMBER_BYTES = 256  # on average at least, beyond those: a million empty members cost seconds
CODE = "invalid_compressed_data"


class Coding(StrEnum):
    """The codings taken, by their names in Content-Encoding (RFC 9110 §8.4.1, RFC 8878)."""

    GZIP = "gzip"
    ZSTD = "zstd"


_NAMES = {"gzip": Coding.GZIP, "x-gzip": Coding.GZIP, "zstd": Coding.ZSTD}
_ENDINGS = {".gz": Coding.GZIP, ".zst": Coding.ZSTD}


def coding_of(content_encoding: str | None) -> Coding | None:
    """Read a Content-Encoding header; None means plain bytes. Raises UnsupportedEncoding."""
    name = (content_encoding or "").strip().lower()
    if name in {"", "identity"}:
        return None
    if name not in _NAMES:
        raise UnsupportedEncoding(
            f"Cannot read Content-Encoding '{name[:50]}'. Supported values are: 'gzip' and 'zstd', "
            "one at a time, or no compression."
        )
    return _NAMES[name]


def split_ending(filename: str) -> tuple[str, Coding | None]:
    """Split `lines.jsonl.gz` into `lines.jsonl` and its coding; other names stay whole."""
    stem, dot, ending = filename.rpartition(".")
    coding = _ENDINGS.get((dot + ending).lower())
    return (filename, None) if coding is None else (stem, coding)


class Unpacker:
    """One compressed stream being unpacked; several gzip members or zstd frames are one stream."""

    def __init__(self, coding: Coding, *, what: str) -> None:
        self._coding = coding
        self._what = what
        self._member: _Gzip | _Zstd | None = None
        self._members = 0
        self._unpacked_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to, in pieces; take all before feeding more. Raises Invalid."""
        view = memoryview(data)
        for start in range(0, len(view), _SLICE_BYTES):
            yield from self._unpack(view[start : start + _SLICE_BYTES])

    def finish(self) -> None:
        """Check that the stream is complete. Raises Invalid."""
        if self._members == 0 or self._member is not None:
            raise self._invalid("is cut short: its end is missing")

    def _unpack(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest = data
        while len(rest) or self._member is not None:
            member = self._member = self._member or self._next_member()
            try:
                piece = member.step(rest)
            except (zlib.error, zstd.ZstdError) as exc:
                raise self._broken(exc) from exc
            if piece:
                self._unpacked_bytes += len(piece)
                yield piece
            if member.is_over:
                self._member = None
            elif member.is_hungry:
                return
            rest = member.rest

    def _next_member(self) -> _Gzip | _Zstd:
        self._members += 1
        if (self._members - _FREE_MEMBERS) * _MEMBER_BYTES > self._unpacked_bytes:
            raise self._invalid("consists of too many tiny members")
        return _Gzip() if self._coding is Coding.GZIP else _Zstd()

    def _broken(self, exc: Exception) -> Invalid:
        if "too much memory" in str(exc):
            return self._invalid(
                "needs too large a window: at most 8 MiB are allowed (zstd levels up to 19, "
                "without --long or --ultra)"
            )
        if self._members == 1 and self._unpacked_bytes == 0:
            return self._invalid(f"is damaged, or no {self._coding} at all")
        return self._invalid("is damaged, or followed by something else")

    def _invalid(self, fault: str) -> Invalid:
        return Invalid(
            f"The {self._coding} data of {self._what} {fault}. Compress it again, or send it "
            "uncompressed.",
            code=CODE,
        )


class _Gzip:
    """One member of a gzip stream (RFC 1952 §2.2)."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_WINDOW)
        self._is_full = False

    def step(self, data: bytes | memoryview) -> bytes:
        piece = self._inner.decompress(data, PIECE_BYTES)
        self._is_full = len(piece) == PIECE_BYTES
        return piece

    @property
    def is_over(self) -> bool:
        return self._inner.eof

    @property
    def is_hungry(self) -> bool:
        return not self._is_full and not self._inner.unconsumed_tail

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail


class _Zstd:
    """One frame of a zstd stream (RFC 8878 §3.1); it keeps what it has not unpacked yet."""

    def __init__(self) -> None:
        limits: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._inner = zstd.ZstdDecompressor(options=limits)

    def step(self, data: bytes | memoryview) -> bytes:
        return self._inner.decompress(data, PIECE_BYTES)

    @property
    def is_over(self) -> bool:
        return self._inner.eof

    @property
    def is_hungry(self) -> bool:
        return self._inner.needs_input

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data if self._inner.eof else b""
