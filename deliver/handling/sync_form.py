"""Handlers of the plain form, `handle(batch_id, results, metadata) -> bool`: run in a thread, no async code.

They want a list. What they get behaves like one, and lies in a temporary file: memory does not grow with it.
"""

from __future__ import annotations

import asyncio
import tempfile
from array import array
from collections.abc import Sequence
from typing import IO, Any, overload

import msgspec

from batchline.handlers import EndedBatch, Results
from batchline.handlers.result import decoded


class SpooledResults(Sequence[dict[str, Any]]):
    """The lines of the result files as dicts; with their requests under `request` where those came."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends = array("Q", [0])

    def add(self, line: bytes) -> None:
        """Put one line of JSON behind the others, before any is read."""
        self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        index = at + len(self) if at < 0 else at
        if not 0 <= index < len(self):
            raise IndexError(at)
        begin, end = self._ends[index], self._ends[index + 1]
        self._file.seek(begin)
        found: dict[str, Any] = decoded(self._file.read(end - begin))
        return found


async def handle_in_thread(handler: Any, batch: EndedBatch, results: Results) -> None:
    """Spool all results, then call the handler. Raises what it raises; RuntimeError if it returns False."""
    with tempfile.TemporaryFile() as file:
        spooled = SpooledResults(file)
        async for result in results:
            spooled.add(result.raw if result.raw_request is None else _with_request(result))
        is_done = await asyncio.to_thread(handler.handle, batch.id, spooled, dict(batch.metadata))
    if is_done is False:
        raise RuntimeError("it returned False")


def _with_request(result: Any) -> bytes:
    return msgspec.json.encode({**result.line, "request": result.request}) + b"\n"
