"""Receiving a multipart form whose file part goes straight into a blob, in constant memory.

Owns the form: parts in any order, sizes, filenames. What the fields mean is said by `bodies.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from batchline.blobs.base import BlobWriter
from batchline.errors import Invalid, TooLarge
from batchline.parameters import missing

_CHUNK_BYTES = 1 << 18
_FIELD_BYTES = 4096  # purpose and expiry are a few characters
_OVERHEAD_BYTES = 1 << 16  # boundaries, headers and text fields around a file of the largest size
_STALL_S = 120  # a client that sends nothing for so long has gone
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"  # the last three bytes are a BOM
_NAMELESS = "upload"
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:\\"|\\\\|[^"])*"|[^;]*)')
_ESCAPED = re.compile(r'\\(["\\])')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as received; the bytes of its file lie in the writer."""

    filename: str
    is_blank: bool
    fields: dict[str, str]


async def receive(request: web.Request, writer: BlobWriter, *, max_bytes: int) -> Form:
    """Read the whole form, its part `file` into `writer`; neither commits nor aborts it.

    Raises Invalid, TooLarge; ConnectionError if the client goes away.
    """
    if request.content_type != "multipart/form-data":
        raise Invalid(
            "The request must be multipart/form-data with the parts 'file' and 'purpose', "
            f"but its content type is '{request.content_type}'."
        )
    if (request.content_length or 0) > max_bytes + _OVERHEAD_BYTES:
        raise _too_large(max_bytes)
    with _form_errors():
        reception = _Reception(writer, max_bytes)
        async for part in _parts(await request.multipart()):
            await reception.take(part)
    return reception.form()


def clean_filename(name: str) -> str:
    """Return the last path component without control characters; `upload` if nothing is left."""
    # Bytes that are not UTF-8 arrive as surrogates, which no database or JSON can hold.
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    last = re.split(r"[/\\]", _CONTROL.sub("", text))[-1].strip()
    return _NAMELESS if last in {"", ".", ".."} else last


class _Reception:
    """One form being received."""

    def __init__(self, writer: BlobWriter, max_bytes: int) -> None:
        self._writer = writer
        self._max_bytes = max_bytes
        self._ignored_bytes = 0
        self._filename: str | None = None
        self._is_blank = True
        self._fields: dict[str, str] = {}

    async def take(self, part: BodyPartReader) -> None:
        names = _disposition(part.headers.get("Content-Disposition", ""))
        name = names.get("name", "")
        if name == "file":
            await self._take_file(part, names.get("filename"))
        elif "filename" in names:
            await self._ignore(part)
        else:
            await self._take_field(part, name)

    def form(self) -> Form:
        if self._filename is None:
            raise missing("file")
        return Form(self._filename, self._is_blank, self._fields)

    async def _take_file(self, part: BodyPartReader, filename: str | None) -> None:
        if filename is None:
            raise Invalid(
                "Invalid type for 'file': expected a file, but got a string instead. "
                "Its part needs a filename (curl: -F file=@NAME).",
                param="file",
                code="invalid_type",
            )
        if self._filename is not None:
            raise Invalid("There must be one part 'file', but there are several.", param="file")
        self._filename = clean_filename(filename)
        async for chunk in _chunks(part):
            if self._writer.size_bytes + len(chunk) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._is_blank = self._is_blank and not chunk.strip(_BLANK)
            await self._writer.write(chunk)

    async def _take_field(self, part: BodyPartReader, name: str) -> None:
        value = bytearray()
        async for chunk in _chunks(part):
            value += chunk
            if len(value) > _FIELD_BYTES:
                raise Invalid(f"The form's part '{name[:50]}' is too long for a text field.")
        self._fields[name] = value.decode("utf-8")

    async def _ignore(self, part: BodyPartReader) -> None:
        async for chunk in _chunks(part):
            self._ignored_bytes += len(chunk)
            if self._ignored_bytes > self._max_bytes:
                raise _too_large(self._max_bytes)


async def _parts(reader: MultipartReader) -> AsyncIterator[BodyPartReader]:
    while True:
        async with asyncio.timeout(_STALL_S):
            part = await reader.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise Invalid("A form must not be nested in another one.")
        yield part


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while not part.at_eof():
        async with asyncio.timeout(_STALL_S):
            chunk = await part.read_chunk(_CHUNK_BYTES)
        if chunk:
            yield chunk


@contextmanager
def _form_errors() -> Iterator[None]:
    """Translate what aiohttp raises on a broken form."""
    try:
        yield
    except TimeoutError as exc:
        raise web.HTTPRequestTimeout(reason="The upload stalled.") from exc
    except (
        ValueError,
        AssertionError,
        RuntimeError,
        HttpProcessingError,
        web.RequestPayloadError,
    ) as exc:
        raise Invalid(
            "The form is broken or cut short: it must be multipart/form-data that ends with its "
            "closing boundary."
        ) from exc


def _disposition(header: str) -> dict[str, str]:
    """Read the parameters of a Content-Disposition header (RFC 7578 §4.2; names may hold ';')."""
    found = {name.lower(): _unquoted(value) for name, value in _PARAMETER.findall(header)}
    if "filename*" in found:  # RFC 7578 forbids it, some clients send it all the same
        found["filename"] = unquote(found["filename*"].rpartition("'")[2])
    return found


def _unquoted(value: str) -> str:
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPED.sub(r"\1", text[1:-1])
    return text


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"File is too large. The limit is {max_bytes} bytes.")
