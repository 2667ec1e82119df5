"""The handler `parquet`: a Parquet file for each batch.

What it keeps in memory is the row group that is being written, so that is bounded in bytes. The library
bounds it in rows alone, and by one number for a whole file: so that is reckoned from the first lines, and
where later ones are so long that it does not hold, the file ends and the batch goes on in another.
"""

from __future__ import annotations

import asyncio
import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, chain, count
from typing import Any

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema, list_array
from arro3.io import write_parquet

from batchline.handlers import Context, EndedBatch, Result, Results
from deliver.builtin.section import read_section

from .columns import Column, Kind
from .pulled import Pulled
from .rows import Vector, rows
from .settings import BYTES_AT_ONCE, LINES_AT_ONCE, FileSettings
from .whole_file import whole_file

_GROUP_BYTES = 32 << 20
"""Lines of one row group, as they lie in the batch's files."""
_GROUP_ROWS = 1 << 17
_MOST_GROUP_BYTES = 4 * _GROUP_BYTES
_COMPRESSIONS = {
    "zstd": "zstd(3)",
    "snappy": "snappy",
    "gzip": "gzip(6)",
    "none": "uncompressed",
}
_REPEATED = {"finish_reason", "model", "error_code", "error_message", "status_code", "part"}
"""Columns in which few values come again and again; a dictionary of any other is a waste."""
_VECTOR = DataType.list(Field("item", DataType.float32(), nullable=True))
_TYPES = {Kind.TEXT: DataType.utf8(), Kind.NUMBER: DataType.int64(), Kind.VECTOR: _VECTOR}


class ParquetSettings(FileSettings, frozen=True):
    """Those of `parquet`."""

    compression: str = "zstd"


class ParquetFiles:
    """Writes each batch into a file."""

    name = "parquet"
    wants_requests = True

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Whether it shall run. Raises ValueError."""
        read_section(settings, ParquetSettings).check(compressions=_COMPRESSIONS)
        return True

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Write the file of a batch."""
        settings = read_section(context.settings, ParquetSettings)
        chunks = results.chunks(LINES_AT_ONCE, most_bytes=BYTES_AT_ONCE)
        pulled = Pulled(chunks, asyncio.get_running_loop())
        await asyncio.to_thread(_write, settings, batch, pulled)


def _write(settings: ParquetSettings, batch: EndedBatch, chunks: Pulled[list[Result]]) -> None:
    columns = settings.columns_of(batch.endpoint)
    tables = _tables(columns, batch.endpoint, chunks)
    with ExitStack() as files:  # left in reverse: the first, which has the plain name, appears last
        for number in count(1):
            if (first := next(tables, None)) is None:
                return
            ending = ".parquet" if number == 1 else f".{number}.parquet"
            part = files.enter_context(whole_file(settings.path_of(batch.id, ending)))
            group_rows = _group_rows(first)
            file = _of_file(first, tables, group_rows)
            with _Sink(part, "wb") as sink:
                _pour(
                    RecordBatchReader.from_batches(first.batch.schema, file),
                    sink,
                    compression=_COMPRESSIONS[settings.compression],
                    max_row_group_size=group_rows,
                )


def _pour(reader: RecordBatchReader, sink: _Sink, **options: Any) -> None:
    repeated: dict[str | Sequence[str], bool] = {
        name: name in _REPEATED for name in reader.schema.names
    }
    try:
        write_parquet(reader, sink, column_dictionary_enabled=repeated, **options)
    except BaseException:  # where its file fails the library panics, and a panic is no Exception
        if sink.failure is not None:
            raise sink.failure from None
        raise


class _Sink(io.FileIO):
    """The file that the library writes to."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write some; note what goes wrong."""
        try:
            return super().write(data)
        except OSError as exc:
            self.failure = exc
            raise


@dataclass(frozen=True, slots=True)
class _Table:
    batch: RecordBatch
    size_bytes: int
    """Of the lines that it is made of."""


def _tables(
    columns: Sequence[Column], endpoint: str, chunks: Iterable[Sequence[Result]]
) -> Iterator[_Table]:
    schema = Schema([Field(one.name, _TYPES[one.kind], nullable=True) for one in columns])
    for chunk in chunks:
        lines = list(rows(chunk, endpoint))
        arrays = [_ARRAYS[one.kind]([one.of(row) for row in lines]) for one in columns]
        yield _Table(
            RecordBatch(arrays, schema=schema),
            sum(len(one.raw) + len(one.raw_request or b"") for one in chunk),
        )


def _group_rows(first: _Table) -> int:
    """Reckon how many rows a group may have, from the first lines."""
    fitting = _GROUP_BYTES * first.batch.num_rows // max(1, first.size_bytes)
    return min(max(fitting, 1), _GROUP_ROWS)


def _of_file(first: _Table, tables: Iterator[_Table], group_rows: int) -> Iterator[RecordBatch]:
    """Yield tables until they end, or a group of so many rows would be too large."""
    rows_in_group = bytes_in_group = 0
    for table in chain([first], tables):
        yield table.batch
        rows_in_group += table.batch.num_rows
        bytes_in_group += table.size_bytes
        if rows_in_group >= group_rows:
            rows_in_group, bytes_in_group = rows_in_group % group_rows, 0
        elif bytes_in_group > _MOST_GROUP_BYTES:
            return


def _texts(cells: Sequence[str | None]) -> Array:
    return Array(cells, type=_TYPES[Kind.TEXT])


def _numbers(cells: Sequence[int | None]) -> Array:
    return Array(cells, type=_TYPES[Kind.NUMBER])


def _lists(cells: Sequence[Vector | None]) -> Array:
    values = array("f")
    for cell in cells:
        values.extend(cell or ())
    ends = accumulate((len(cell or ()) for cell in cells), initial=0)
    return list_array(
        Array.from_buffer(array("i", ends)),
        Array.from_buffer(values),
        mask=Array([cell is None for cell in cells], type=DataType.bool()),
        type=_VECTOR,
    )


_ARRAYS: Mapping[Kind, Callable[[Sequence[Any]], Array]] = {
    Kind.TEXT: _texts,
    Kind.NUMBER: _numbers,
    Kind.VECTOR: _lists,
}
