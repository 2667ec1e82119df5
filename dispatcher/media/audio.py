"""Makes the form of a line for the audio endpoints, within a bound on memory.

The file that its `file_url` names is decoded from the URL or fetched; all its other fields become fields of
the form. Room is taken before anything is asked for: a host whose file waits for it would break off.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, Self, TypeVar

from batchline.jsonl.audio_lines import AudioRequest, read_audio_request
from batchline.outbound.media_urls import MediaRules, data_head, is_data_url

from .fetch import Fetcher, Source, Unfetched
from .form import Frame, frame

P = ParamSpec("P")
T = TypeVar("T")

_FEW_BYTES = 64 << 10  # worked on sooner than a thread is asked to
_FIRST_GUESS_BYTES = 1 << 20


class Room(Protocol):
    """Memory for files."""

    async def take(self, size_bytes: int) -> None:
        """Wait until there is room for so many bytes."""

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""


class Form:
    """A form ready to be sent; the context gives its room back."""

    def __init__(self, body: bytes | bytearray, content_type: str, room: Room, held: int) -> None:
        self.body, self.content_type = body, content_type
        self._room = room
        self._held_bytes = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.body = b""
        self._room.give(self._held_bytes)


@dataclass(frozen=True, slots=True)
class _More:
    """A file is larger than the room that was taken for it, by what its host says."""

    size_bytes: int


class Audio:
    """Makes forms. Raises Unfetched where there is no file."""

    def __init__(self, rules: MediaRules, fetcher: Fetcher, room: Room) -> None:
        self._rules = rules
        self._fetcher = fetcher
        self._room = room
        self._usual_bytes = min(_FIRST_GUESS_BYTES, rules.max_bytes)

    async def form_of(self, body: bytes, *, within_s: float) -> Form:
        """Return the form of the line with this body. Raises Unfetched, OutOfDescriptors."""
        try:
            request = await _work_on(len(body), read_audio_request, body)
        except ValueError as exc:
            raise Unfetched(str(exc), is_final=True) from exc
        if flaw := self._rules.flaw_of(request.file_url):  # the setting may have changed
            raise Unfetched(flaw.rstrip("."), is_final=True)
        if is_data_url(request.file_url):
            return await self._decoded(request)
        return await self._fetched(request, within_s)

    async def _decoded(self, request: AudioRequest) -> Form:
        head = data_head(request.file_url)
        size_bytes = (len(request.file_url) - len(head)) * 3 // 4
        self._check_size(size_bytes)
        await self._room.take(size_bytes)
        try:
            media_type = head.partition(":")[2]
            around = frame(request.fields, boundary=_boundary(), media_type=media_type)
            form = await _work_on(size_bytes, _form_of_data, request.file_url, len(head), around)
        except BaseException:
            self._room.give(size_bytes)
            raise
        return Form(form, around.content_type, self._room, size_bytes)

    async def _fetched(self, request: AudioRequest, within_s: float) -> Form:
        """Fetch a file; where it is larger than files usually are, once more with room for all of it."""
        room_bytes = self._usual_bytes
        for _ in range(2):
            await self._room.take(room_bytes)
            try:
                found = await self._try(request, room_bytes, within_s)
            except BaseException:
                self._room.give(room_bytes)
                raise
            if isinstance(found, Form):
                return found
            self._room.give(room_bytes)
            room_bytes = found.size_bytes
        raise Unfetched("its host tells another size each time", is_final=False)

    async def _try(self, request: AudioRequest, room_bytes: int, within_s: float) -> Form | _More:
        async with self._fetcher.open(request.file_url, within_s=within_s) as source:
            told_bytes = self._rules.max_bytes if source.size_bytes is None else source.size_bytes
            self._check_size(source.size_bytes or 0)
            if told_bytes > room_bytes:
                return _More(told_bytes)
            around = frame(
                request.fields,
                boundary=_boundary(),
                media_type=source.media_type,
                path=source.path,
            )
            form = bytearray(around.head)
            await self._read(source, form)
        size_bytes = len(form) - len(around.head)
        if not size_bytes:
            raise Unfetched("the file is empty", is_final=True)
        form += around.tail
        self._usual_bytes = max(size_bytes, int(self._usual_bytes * 0.9))
        self._room.give(room_bytes - size_bytes)
        return Form(form, around.content_type, self._room, size_bytes)

    async def _read(self, source: Source, form: bytearray) -> None:
        read_bytes = 0
        async for chunk in source.chunks:
            read_bytes += len(chunk)
            self._check_size(read_bytes)
            form += chunk

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._rules.max_bytes:
            why = (
                f"the file is larger than {self._rules.max_bytes:,} bytes, the most allowed "
                "(BATCHLINE_MEDIA_MAX_BYTES)"
            )
            raise Unfetched(why, is_final=True)


def form_of_data_url(body: bytes) -> tuple[bytes, str]:
    """Return the form, and its content type, of a line whose file stands in a data URL of our own."""
    request = read_audio_request(body)
    head = data_head(request.file_url)
    media_type = head.partition(":")[2]
    around = frame(request.fields, boundary=_boundary(), media_type=media_type)
    return _form_of_data(request.file_url, len(head), around), around.content_type


def _form_of_data(url: str, comma: int, around: Frame) -> bytes:
    try:
        data = b64decode(url[comma + 1 :], validate=True)
    except (NoBase64, ValueError) as exc:
        raise Unfetched("what stands in the data URL is not base64", is_final=True) from exc
    if not data:
        raise Unfetched("the file is empty", is_final=True)
    return b"".join((around.head, data, around.tail))


def _boundary() -> str:
    return f"batchline-{secrets.token_hex(16)}"


async def _work_on(size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Work on so many bytes, apart from the event loop where that is worth it."""
    if size_bytes <= _FEW_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
