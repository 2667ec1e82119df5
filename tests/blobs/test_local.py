"""Local blobs: atomic files, durable self-describing segments."""

from __future__ import annotations

import errno
import io
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchline.errors import NotFound, StoreUnavailable
from batchline.model import SegmentRef


async def put(blobs, key, data):
    writer = blobs.create(key)
    await writer.write(data)
    await writer.commit()


async def test_a_blob_is_invisible_until_committed(blobs):
    """A torn write leaves nothing under the key."""
    writer = blobs.create("files/a")
    await writer.write(b"x" * 3_000_000)
    assert await blobs.size("files/a") is None

    await writer.commit()
    assert await blobs.size("files/a") == writer.size_bytes == 3_000_000


async def test_an_aborted_blob_leaves_nothing(blobs, tmp_path):
    """Not even a temporary file stays."""
    writer = blobs.create("files/a")
    await writer.write(b"x" * 3_000_000)
    await writer.abort()

    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


async def test_a_disk_that_failed_cannot_keep_a_writer_from_ending(blobs, monkeypatch):
    """The refusal that came before is what counts; its temporary file is swept later."""
    writer = blobs.create("files/a")
    await writer.write(b"x" * 3_000_000)

    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    await writer.abort()

    assert await blobs.size("files/a") is None


async def test_an_empty_blob_is_a_blob(blobs):
    """Zero bytes are stored too."""
    await put(blobs, "files/empty", b"")
    assert await blobs.size("files/empty") == 0


async def test_ranges_are_read_exactly(blobs):
    """Offset and length cut where they say."""
    await put(blobs, "f", b"0123456789")

    assert await blobs.read("f", offset=2, length=3) == b"234"
    assert await blobs.read("f") == b"0123456789"
    assert (
        b"".join([c async for c in blobs.stream("f", offset=1, length=7, chunk_bytes=3)])
        == b"1234567"
    )


async def test_a_missing_blob_is_not_found(blobs):
    """Reading and streaming say so."""
    with pytest.raises(NotFound):
        await blobs.read("nope")
    with pytest.raises(NotFound):
        [c async for c in blobs.stream("nope")]


async def test_segments_describe_themselves(blobs):
    """Each record is found again by its own index."""
    await blobs.put_segment("segments/b/", [(0, b"first\n")])
    ref = await blobs.put_segment("segments/b/", [(7, b"seven\n"), (3, b"three is longer\n")])

    index = await blobs.read_segment_index(ref)

    assert [line for line, _, _ in index] == [7, 3]
    assert [await blobs.read(ref.key, offset=o, length=n) for _, o, n in index] == [
        b"seven\n",
        b"three is longer\n",
    ]


async def test_a_damaged_segment_is_refused(blobs, tmp_path):
    """One flipped bit is noticed, and so is a missing tail."""
    ref = await blobs.put_segment("segments/b/", [(0, b"hello\n")])
    path = tmp_path / "blobs" / ref.key
    data = bytearray(path.read_bytes())
    data[1] ^= 1
    path.write_bytes(data)

    with pytest.raises(StoreUnavailable, match="checksum"):
        await blobs.read_segment_index(ref)
    with pytest.raises(StoreUnavailable, match="short"):
        await blobs.read_segment_index(SegmentRef(ref.key, 0, ref.length_bytes + 1))


@contextmanager
def files_of_at_most(size_bytes):
    """Let the kernel cut every write there, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_half_an_append_is_taken_back_and_the_next_one_stands(blobs, tmp_path):
    """However often a full disk is tried, it takes no room, and what was stored before stays."""
    first = await blobs.put_segment("segments/b/", [(0, b"x" * 1000)])
    for _ in range(3):
        with files_of_at_most(5000), pytest.raises(StoreUnavailable, match="refuses segments/b/"):
            await blobs.put_segment("segments/b/", [(1, b"y" * 9000)])
    (path,) = [p for p in (tmp_path / "blobs" / "segments").rglob("*") if p.is_file()]
    size_bytes = path.stat().st_size
    second = await blobs.put_segment("segments/b/", [(2, b"z" * 9000)])

    assert size_bytes == first.length_bytes
    assert (second.key, second.offset_bytes) == (first.key, first.length_bytes)
    assert [[i for i, _, _ in await blobs.read_segment_index(r)] for r in (first, second)] == [
        [0],
        [2],
    ]


async def test_deleting_a_prefix_takes_all_below_and_appending_goes_on(blobs):
    """A deleted prefix can be written again."""
    await blobs.put_segment("segments/b/", [(0, b"x\n")])
    await blobs.delete("segments/b/")
    await blobs.delete("segments/b/")
    ref = await blobs.put_segment("segments/b/", [(1, b"y\n")])

    assert [line for line, _, _ in await blobs.read_segment_index(ref)] == [1]


async def test_keys_cannot_leave_the_root(blobs):
    """A key with .. is a bug, not a path."""
    with pytest.raises(AssertionError):
        await blobs.read("../x")


async def test_a_read_that_comes_back_short_is_not_the_end(blobs, monkeypatch):
    """As at a bad sector, or from a file system of another kind: what follows is asked for, too."""
    await put(blobs, "files/a", data := os.urandom(100_000))

    class Short(io.FileIO):
        def read(self, size=-1):
            return super().read(min(size, 1000))

    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Short(path))

    assert b"".join([chunk async for chunk in blobs.stream("files/a")]) == data
    assert await blobs.read("files/a", offset=5, length=5000) == data[5:5005]
    assert await blobs.read_many([("files/a", 7, 5000)]) == [data[7:5007]]


async def test_ranges_of_many_files_are_read_with_few_of_them_open(blobs):
    """What was appended to a batch may lie in thousands; they come back in the order asked for."""
    for number in range(40):
        await put(blobs, f"appends/b/{number}", b"%02d" % number)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ranges = [(f"appends/b/{number}", place, 1) for place in (0, 1) for number in range(40)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 25, hard))
    try:
        found = await blobs.read_many(ranges)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found == [b"%d" % (number // 10) for number in range(40)] + [
        b"%d" % (number % 10) for number in range(40)
    ]
