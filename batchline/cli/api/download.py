"""Downloads one stored file, and continues where a connection broke off.

A file is written beside its final place, under a name that holds the server's file id, and renamed when it
is complete: a file under the final name is complete, and a partial download is only continued with bytes
of the same file (a stored file never changes).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO

from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean

from .client import Broken, Client
from .transfer import Transfer

_FRUITLESS_TRIES = 5
_RETRY_S = 1.0


def download(client: Client, file_id: str, output: Path) -> str:
    """Store a file as `output`, whole or not at all; return a summary. Raises Failure, OSError.

    What was fetched is kept beside it, so that a second call continues.
    """
    total_bytes = _size(client, file_id)  # refuses what is no id, so it can be part of a name
    part = output.with_name(f"{output.name}.{file_id}.part")
    with part.open("ab") as sink, Transfer("downloading", total_bytes=total_bytes) as transfer:
        have_bytes = sink.tell()
        if have_bytes > total_bytes:
            sink.truncate(0)
            have_bytes = 0
        transfer.skip(have_bytes)
        copy = _Copy(client, file_id, sink, transfer, total_bytes=total_bytes)
        try:
            copy.run(have_bytes)
        except KeyboardInterrupt:
            raise Failure(
                "Stopped while downloading. What came so far is kept.",
                why=clean(str(part)),
                remedy="run it again: it resumes",
                code=ExitCode.INTERRUPTED,
            ) from None
        sink.flush()
        os.fsync(sink.fileno())
    part.replace(output)
    return transfer.summary


def pour(client: Client, file_id: str, sink: BinaryIO) -> None:
    """Write a file to a stream that cannot be rewound. Raises Failure."""
    total_bytes = _size(client, file_id)
    with Transfer("downloading", total_bytes=total_bytes, quiet=True) as transfer:
        _Copy(client, file_id, sink, transfer, total_bytes=total_bytes).run(0)
    sink.flush()


class _Copy:
    def __init__(
        self,
        client: Client,
        file_id: str,
        sink: BinaryIO,
        transfer: Transfer,
        *,
        total_bytes: int,
    ) -> None:
        self._client = client
        self._file_id = file_id
        self._sink = sink
        self._transfer = transfer
        self._total_bytes = total_bytes
        self._have_bytes = 0

    def run(self, have_bytes: int) -> None:
        """Fetch the whole file. Gives up after several attempts that brought nothing."""
        self._have_bytes = have_bytes
        fruitless = 0
        while self._have_bytes < self._total_bytes:
            before_bytes = self._have_bytes
            try:
                self._fetch_once()
            except Failure as failure:
                # A refusal is final; a gateway that cannot be reached may be restarting.
                if failure.code is not ExitCode.UNREACHABLE or not self._have_bytes:
                    raise
                error = failure
            else:
                error = Broken("The server sent less than it promised.", code=ExitCode.UNREACHABLE)
            fruitless = 0 if self._have_bytes > before_bytes else fruitless + 1
            if fruitless >= _FRUITLESS_TRIES:
                raise error
            if self._have_bytes < self._total_bytes:
                time.sleep(_RETRY_S)

    def _fetch_once(self) -> None:
        with self._client.content(self._file_id, offset=self._have_bytes) as content:
            skip_bytes = self._have_bytes - content.start
            for chunk in content.chunks:
                fresh = chunk[skip_bytes:] if skip_bytes > 0 else chunk
                skip_bytes -= len(chunk) - len(fresh)
                self._sink.write(fresh)
                self._have_bytes += len(fresh)
                self._transfer.advance(len(fresh))


def _size(client: Client, file_id: str) -> int:
    size_bytes = client.file(file_id).get("bytes")
    if not isinstance(size_bytes, int):
        raise Failure("The server does not say how large the file is.", code=ExitCode.UNREACHABLE)
    return size_bytes
