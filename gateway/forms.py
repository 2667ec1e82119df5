"""Receiving a multipart form whose file part goes straight into a deposit, in constant memory.

Owns the form: parts in any order, filenames, how the file part is compressed. What the fields mean is
said by `bodies.py`; sizes are bounded by `body.py` and `deposit.py`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from batchline.compression import Coding, coding_of, split_ending
from batchline.errors import Invalid
from batchline.parameters import missing

from .body import CHUNK_BYTES, Body
from .deposit import Deposit

BATCH = "batch"
_FIELD_BYTES = 4096  # purpose and expiry are a few characters
_MOST_FIELDS = 100
_OVERHEAD_BYTES = 1 << 16  # boundaries, headers and text fields around a file of the largest size
_INCOMPRESSIBLE = 1000  # compressing what cannot be compressed adds less than a thousandth
_NAMELESS = "upload"
_PLAIN_TRANSFER = frozenset({"", "7bit", "8bit", "binary"})
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:\\"|\\\\|[^"])*"|[^;]*)')
_ESCAPED = re.compile(r'\\(["\\])')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as received; the bytes of its file lie in the deposit.

    `packed`: the filename said that the file is compressed, and the deposit holds it as it was sent,
    since the purpose was not known yet.
    """

    filename: str
    packed: Coding | None
    fields: dict[str, str]


async def receive(request: web.Request, deposit: Deposit, *, part: str, by_name: bool) -> Form:
    """Read the whole form, its file `part` into `deposit`; commits nothing.

    `by_name`: a file for a batch is unpacked where its name ends in .gz or .zst.
    Raises Invalid, TooLarge, UnsupportedEncoding, DiskFull; ConnectionError if the client goes away.
    """
    if request.content_type != "multipart/form-data":
        raise Invalid(
            f"The request must be multipart/form-data with the part '{part}', "
            f"but its content type is '{request.content_type}'."
        )
    most = deposit.max_bytes
    body = Body(
        request,
        max_bytes=most + most // _INCOMPRESSIBLE + _OVERHEAD_BYTES,
        too_large=deposit.too_large,
    )
    with _form_errors():
        reception = _Reception(deposit, part=part, by_name=by_name)
        async for found in _parts(MultipartReader(request.headers, body.as_stream())):
            await reception.take(found)
    return reception.form()


def clean_filename(name: str) -> str:
    """Return the last path component without control characters; `upload` if nothing is left."""
    # Bytes that are not UTF-8 arrive as surrogates, which no database or JSON can hold.
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    last = re.split(r"[/\\]", _CONTROL.sub("", text))[-1].strip()
    return _NAMELESS if last in {"", ".", ".."} else last


def unpacked_filename(filename: str) -> str:
    """Return the name of what a .gz or .zst file unpacks to."""
    return split_ending(filename)[0] or _NAMELESS


class _Reception:
    """One form being received."""

    def __init__(self, deposit: Deposit, *, part: str, by_name: bool) -> None:
        self._deposit = deposit
        self._part = part
        self._by_name = by_name
        self._filename: str | None = None
        self._packed: Coding | None = None
        self._fields: dict[str, str] = {}

    async def take(self, part: BodyPartReader) -> None:
        names = _disposition(part.headers.get("Content-Disposition", ""))
        name = names.get("name", "")
        if name == self._part:
            await self._take_file(part, names.get("filename"))
        elif "filename" in names:
            await self._ignore(part)
        else:
            await self._take_field(part, name)

    def form(self) -> Form:
        if self._filename is None:
            raise missing(self._part)
        return Form(self._filename, self._packed, self._fields)

    async def _take_file(self, part: BodyPartReader, filename: str | None) -> None:
        if filename is None:
            raise Invalid(
                f"Invalid type for '{self._part}': expected a file, but got a string instead. "
                f"Its part needs a filename (curl: -F {self._part}=@NAME).",
                param=self._part,
                code="invalid_type",
            )
        if self._filename is not None:
            raise Invalid(
                f"There must be one part '{self._part}', but there are several.", param=self._part
            )
        self._filename = clean_filename(filename)
        self._deposit.unpack_as(self._coding(part))
        async for chunk in _chunks(part):
            await self._deposit.put(chunk)
        self._deposit.finish()

    def _coding(self, part: BodyPartReader) -> Coding | None:
        """Decide how the file is unpacked: its header tells, else (for a batch) its name."""
        assert self._filename is not None, "the name comes before the bytes"
        _, named = split_ending(self._filename)
        declared = coding_of(part.headers.get("Content-Encoding"))
        if declared is None and self._by_name and "purpose" not in self._fields:
            self._packed = named
            return None
        is_named = named is not None and self._by_name and self._fields.get("purpose") == BATCH
        if is_named or (declared is not None and named is declared):
            self._filename = unpacked_filename(self._filename)
        return declared or (named if is_named else None)

    async def _take_field(self, part: BodyPartReader, name: str) -> None:
        if len(self._fields) >= _MOST_FIELDS:
            raise Invalid(f"The form has more than {_MOST_FIELDS} text fields.")
        value = bytearray()
        async for chunk in _chunks(part):
            value += chunk
            if len(value) > _FIELD_BYTES:
                raise Invalid(f"The form's part '{name[:50]}' is too long for a text field.")
        self._fields[name] = value.decode("utf-8")

    async def _ignore(self, part: BodyPartReader) -> None:
        async for _ in _chunks(part):
            pass


async def _parts(reader: MultipartReader) -> AsyncIterator[BodyPartReader]:
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise Invalid("A form must not be nested in another one.")
        transfer = part.headers.get("Content-Transfer-Encoding", "").strip().lower()
        if transfer not in _PLAIN_TRANSFER:  # RFC 7578 §4.7 deprecates it
            raise Invalid(
                f"Cannot read a part with Content-Transfer-Encoding '{transfer[:50]}': send the "
                "bytes as they are."
            )
        yield part


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while not part.at_eof():
        if chunk := await part.read_chunk(CHUNK_BYTES):
            yield chunk


@contextmanager
def _form_errors() -> Iterator[None]:
    """Translate what aiohttp raises on a broken form."""
    try:
        yield
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
