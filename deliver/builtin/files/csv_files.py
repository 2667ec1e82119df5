"""The handler `csv`: a file of comma-separated values for each batch (RFC 4180, UTF-8, with a header)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import msgspec

from batchline.handlers import Context, EndedBatch, Result, Results
from deliver.builtin.section import read_section

from .columns import Column, Kind
from .pulled import Pulled
from .rows import Row, rows
from .settings import BYTES_AT_ONCE, LINES_AT_ONCE, FileSettings
from .whole_file import whole_file

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula (OWASP, CSV Injection)."""
_ENDINGS = {"none": ".csv", "gzip": ".csv.gz"}


class CsvSettings(FileSettings, frozen=True):
    """Those of `csv`."""

    compression: str = "none"
    spreadsheet: bool = False


class CsvFiles:
    """Writes each batch into a file."""

    name = "csv"
    wants_requests = True

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Whether it shall run. Raises ValueError."""
        read_section(settings, CsvSettings).check(compressions=_ENDINGS)
        return True

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Write the file of a batch."""
        settings = read_section(context.settings, CsvSettings)
        chunks = results.chunks(LINES_AT_ONCE, most_bytes=BYTES_AT_ONCE)
        pulled = Pulled(chunks, asyncio.get_running_loop())
        await asyncio.to_thread(_write, settings, batch, pulled)


def _write(settings: CsvSettings, batch: EndedBatch, chunks: Iterable[Sequence[Result]]) -> None:
    columns = settings.columns_of(batch.endpoint)
    path = settings.path_of(batch.id, _ENDINGS[settings.compression])
    with whole_file(path) as part, _opened(part, settings) as file:
        file.write(_line([column.name for column in columns]))
        for chunk in chunks:
            file.writelines(
                _line([_cell(column, row, settings) for column in columns])
                for row in rows(chunk, batch.endpoint)
            )


def _line(cells: Sequence[str | None]) -> str:
    """Write a row. Text that is empty has quotes, and so has a row of nothing: readers skip blank lines."""
    return (",".join(map(_quoted, cells)) or '""') + "\r\n"


def _quoted(cell: str | None) -> str:
    # many times as fast as the csv module, which looks at each character; answers are long
    if cell is None:
        return ""
    if not cell or '"' in cell or "," in cell or "\n" in cell or "\r" in cell:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _cell(column: Column, row: Row, settings: CsvSettings) -> str | None:
    value = column.of(row)
    if value is None:
        return None
    if column.kind is Kind.VECTOR:
        return msgspec.json.encode(list(value)).decode()
    if column.kind is Kind.NUMBER:
        return str(value)
    text: str = value
    return "'" + text if settings.spreadsheet and text.startswith(_FORMULA) else text


@contextmanager
def _opened(part: Path, settings: CsvSettings) -> Iterator[IO[str]]:
    """Open it for text; the same text makes the same bytes."""
    encoding = "utf-8-sig" if settings.spreadsheet else "utf-8"  # by that mark Excel knows UTF-8
    with part.open("wb") as file:
        if settings.compression == "none":
            with TextIOWrapper(file, encoding, newline="") as text:
                yield text
            return
        with (
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
            TextIOWrapper(packed, encoding, newline="") as text,
        ):
            yield text
