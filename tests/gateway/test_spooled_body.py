"""Bodies that are held in a file until they are whole."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading

import pytest
from waiting import turn

from gateway.transfer.disk_space import DiskSpace
from gateway.transfer.spooled_body import SHORT_BYTES, HeldBody

LONG = b"x" * (SHORT_BYTES + 1)


async def test_the_file_of_a_client_that_leaves_is_open_until_its_thread_is_done(
    blobs, tmp_path, monkeypatch
):
    """Closed sooner, its number might be another connection's when the thread writes."""
    begun, go_on, was_closed = threading.Event(), threading.Event(), []

    class SlowFile(io.FileIO):
        def write(self, data):
            begun.set()
            assert go_on.wait(60)
            was_closed.append(self.closed)
            return len(data)

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: SlowFile(tmp_path / "held", "w+"))

    async def receive():
        async with HeldBody(tmp_path, disk_space=DiskSpace(blobs, 0)) as body:
            await body.add(b"short")
            await body.add(LONG)

    task = asyncio.create_task(receive())
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await turn()  # the cancellation arrives
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert was_closed == [False, False]  # what was short before, and the chunk
