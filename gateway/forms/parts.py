"""The parts of a form as they stream in (RFC 7578, RFC 2046 §5.1.1), in linear time and constant memory.

Reads bytes, boundaries and header lines; `receive.py` interprets the parts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import count

from batchline.errors import Invalid

MOST_PARTS = 110
"""A file needs four at most. Each one takes time of the event loop."""
HEAD_BYTES = 1 << 14  # of one part's headers: a filename and a few words

_LONGEST_BOUNDARY = 70  # RFC 2046 §5.1.1
_BROKEN = (
    "The form is broken or cut short: it must be multipart/form-data that ends with its closing "
    "boundary."
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: headers by name in lower case (the first of several counts), content as it comes."""

    headers: Mapping[str, str]
    content: AsyncIterator[bytes]


async def parts_of(body: AsyncIterable[bytes], boundary: str) -> AsyncGenerator[Part, None]:
    """Yield the parts of a form in their order; what the caller leaves of one is skipped.

    Other tasks run between any two. Raises Invalid.
    """
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Invalid(_BROKEN)
    window = _Window(body)
    delimiter = b"\r\n--" + boundary.encode("utf-8", "surrogateescape")
    await _skip(window.before(delimiter))
    for number in count(1):
        if await window.takes(b"--"):
            await window.skip_rest()
            return
        if number > MOST_PARTS:
            raise Invalid(
                f"The form has more than {MOST_PARTS} parts. Send one part with the file, and one "
                "for each of its fields."
            )
        part = Part(_headers(await window.head()), window.content(delimiter))
        yield part
        await _skip(part.content)
        await asyncio.sleep(0)


async def _skip(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


def _headers(head: bytes) -> Mapping[str, str]:
    """Read the header lines between a delimiter and an empty line."""
    padding, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    if padding.strip(" \t"):
        raise Invalid(_BROKEN)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise Invalid(_BROKEN)
        headers.setdefault(name.lower(), value.strip(" \t"))
    return headers


class _Window:
    """The part of a body that has arrived and is not taken yet. Raises Invalid if the body ends too early."""

    def __init__(self, body: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(body)
        self._held = b"\r\n"  # a delimiter begins with a line break, which the first one lacks
        self._at = 0

    async def takes(self, mark: bytes) -> bool:
        """Return whether `mark` comes next, and take it if so."""
        while len(self._held) < self._at + len(mark):
            await self._hold_more(self._at)
        is_next = self._held.startswith(mark, self._at)
        self._at += len(mark) * is_next
        return is_next

    async def head(self) -> bytes:
        """Take what comes before an empty line, and the first line break of that."""
        searched = 0
        while (end := self._held.find(b"\r\n\r\n", self._at + searched)) < 0:
            searched = max(0, len(self._held) - self._at - 3)
            if searched > HEAD_BYTES:
                break
            await self._hold_more(self._at)
        if not 0 <= end - self._at <= HEAD_BYTES:
            raise Invalid(
                f"The form is broken, or has a part with more than {HEAD_BYTES} bytes of headers: "
                "send a shorter filename."
            )
        head = self._held[self._at : end]
        self._at = end + 2
        return head

    async def content(self, delimiter: bytes) -> AsyncIterator[bytes]:
        """Yield what comes between an empty line, whose first half is taken, and `delimiter`; take both."""
        if await self.takes(delimiter):
            return
        await self.takes(b"\r\n")
        async for chunk in self.before(delimiter):
            yield chunk

    async def before(self, mark: bytes) -> AsyncIterator[bytes]:
        """Yield what comes before `mark`, which begins with its only CR, and take both."""
        while (end := self._held.find(mark, self._at)) < 0:
            cut = self._held.rfind(b"\r", max(self._at, len(self._held) - len(mark) + 1))
            if cut < 0 or not mark.startswith(self._held[cut:]):
                cut = len(self._held)  # no mark has begun
            if cut > self._at:
                yield self._held[self._at : cut]
            await self._hold_more(cut)
        if end > self._at:
            yield self._held[self._at : end]
        self._at = end + len(mark)

    async def skip_rest(self) -> None:
        """Read the body to its end, which proves that it is complete."""
        self._held, self._at = b"", 0
        async for _ in self._chunks:
            pass

    async def _hold_more(self, kept_from: int) -> None:
        chunk = await anext(self._chunks, b"")
        if not chunk:
            raise Invalid(_BROKEN)
        self._held, self._at = self._held[kept_from:] + chunk, 0
