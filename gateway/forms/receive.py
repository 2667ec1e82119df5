"""Receives a form, and writes its file part directly into a sink.

Interprets the form: parts in any order, the file and the fields. `parts.py` splits the form; `unpacking.py`
decides whether the file is unpacked; `batchline/api/bodies.py` checks the fields; `body.py` and
`file_sink.py` bound the sizes.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from batchline.api.parameters import missing, shown
from batchline.errors import Invalid
from batchline.jsonl.compression import Coding, coding_of
from gateway.transfer.body import Body
from gateway.transfer.file_sink import FileSink

from .content_disposition import read_disposition, read_header
from .filenames import clean_filename
from .parts import Part, parts_of
from .unpacking import unpacking

_FORM = "multipart/form-data"
_FIELD_BYTES = 4096  # purpose and expiry are a few characters
_FIELDS_BYTES = 1 << 18  # all of them together
_OVERHEAD_BYTES = 1 << 16  # boundaries, headers and text fields around a file of the largest size
_INCOMPRESSIBLE = 1000  # compressing what cannot be compressed adds less than a thousandth
_PLAIN_TRANSFER = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class Form:
    """A form as received; the bytes of its file lie in the sink.

    `packed`: the compression that the filename tells, if the sink holds the file as it was sent, since
    the purpose was not known yet.
    """

    filename: str
    packed: Coding | None
    fields: dict[str, str]


async def receive(
    request: web.Request,
    sink: FileSink,
    *,
    part: str,
    by_name: bool,
    purpose: str | None = None,
    field_bytes: int = _FIELD_BYTES,
) -> Form:
    """Read the whole form, its file `part` into `sink`; commits nothing.

    `by_name`: a file for a batch is unpacked where its name ends in .gz or .zst. `purpose`: what the file is
    for, if that is known before the form. `field_bytes`: of the longest text field.
    Raises Invalid, TooLarge, UnsupportedEncoding, DiskFull; ConnectionError if the client goes away.
    """
    kind, given = read_header(request.headers.get("Content-Type", "application/octet-stream"))
    if kind != _FORM:
        raise Invalid(
            f"The request must be {_FORM} with the part '{part}', but its content type is "
            f"'{shown(kind)}'."
        )
    most = sink.max_bytes
    body = Body(
        request,
        max_bytes=most + most // _INCOMPRESSIBLE + _OVERHEAD_BYTES,
        too_large=sink.too_large,
    )
    reception = _Reception(
        sink, part=part, by_name=by_name, purpose=purpose, field_bytes=field_bytes
    )
    async with aclosing(parts_of(body, given.get("boundary", ""))) as parts:
        async for found in parts:
            await reception.take(found)
    return reception.form()


class _Reception:
    """One form being received."""

    def __init__(
        self, sink: FileSink, *, part: str, by_name: bool, purpose: str | None, field_bytes: int
    ) -> None:
        self._sink = sink
        self._purpose = purpose
        self._field_bytes = field_bytes
        self._part = part
        self._by_name = by_name
        self._filename: str | None = None
        self._packed: Coding | None = None
        self._fields: dict[str, str] = {}
        self._fields_bytes = 0

    async def take(self, part: Part) -> None:
        """Read one part; parts with an unknown name and a filename are left unread."""
        _refuse_packaging(part)
        names = read_disposition(part.headers.get("content-disposition", ""))
        name = names.get("name", "")
        if name == self._part:
            await self._take_file(part, names.get("filename"))
        elif "filename" not in names:
            await self._take_field(part, name)

    def form(self) -> Form:
        if self._filename is None:
            raise missing(self._part)
        return Form(self._filename, self._packed, self._fields)

    async def _take_file(self, part: Part, filename: str | None) -> None:
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
        found = unpacking(
            clean_filename(filename),
            declared=coding_of(part.headers.get("content-encoding")),
            purpose=self._purpose or self._fields.get("purpose"),
            by_name=self._by_name,
        )
        self._filename, self._packed = found.filename, found.postponed
        self._sink.unpack_as(found.coding)
        async for chunk in part.content:
            await self._sink.put(chunk)
        self._sink.finish()

    async def _take_field(self, part: Part, name: str) -> None:
        value = bytearray()
        async for chunk in part.content:
            value += chunk
            if len(value) > min(self._field_bytes, _FIELDS_BYTES - self._fields_bytes):
                raise Invalid(f"The form's part '{name[:50]}' is too long for a text field.")
        self._fields_bytes += len(value)
        try:
            self._fields[name] = value.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise Invalid(f"The form's part '{name[:50]}' is not UTF-8.") from exc


def _refuse_packaging(part: Part) -> None:
    """Refuse a nested form, and encoded content. Raises Invalid."""
    if part.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Invalid("A form must not be nested in another one.")
    transfer = part.headers.get("content-transfer-encoding", "").lower()
    if transfer not in _PLAIN_TRANSFER:  # RFC 7578 §4.7 deprecates it
        raise Invalid(
            f"Cannot read a part with Content-Transfer-Encoding '{transfer[:50]}': send the bytes "
            "as they are."
        )
