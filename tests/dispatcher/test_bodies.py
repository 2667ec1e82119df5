"""Bodies are read with their slices; input that is gone, cut or changed breaks its own batch alone."""

from __future__ import annotations

import pytest
from bench import request_line

from batchline.errors import StoreUnavailable
from batchline.model import Batch, Lease, Slice
from batchline.states import BatchStatus
from dispatcher.attempts.leased_slices import Held, ReadyLine
from dispatcher.sending.bodies import Bodies
from dispatcher.sending.memory import Memory

LINES = [request_line(n).encode() + b"\n" for n in range(4)]


def batch(seq, key):
    return Batch(seq, f"batch_{seq}", BatchStatus.IN_PROGRESS, "/v1/x", "f", key, "24h", 0, 1)


def lease(of, first, count, *, lines=LINES):
    offset = sum(map(len, lines[:first]))
    length = sum(map(len, lines[first : first + count]))
    return Lease(Slice(of.seq, first, count, offset, length), token=1)


@pytest.fixture
async def bodies(blobs):
    """Bodies over two inputs of four lines; `whole` and `other` are their batches."""
    made = Bodies(blobs, Memory(most_bytes=1 << 20))
    for key in ("files/whole", "files/other"):
        writer = blobs.create(key)
        await writer.write(b"".join(LINES))
        await writer.commit()
    return made


async def read(bodies, *slices):
    return [found async for found in bodies.read(slices)]


async def test_slices_come_in_their_order(bodies):
    whole, other = batch(1, "files/whole"), batch(2, "files/other")

    found = await read(bodies, (whole, lease(whole, 2, 2)), (other, lease(other, 0, 1)))

    assert [len(slice_) for slice_ in found] == [2, 1]
    assert [b"q2" in bytes(found[0][0][2].body), b"q0" in bytes(found[1][0][2].body)] == [
        True,
        True,
    ]
    assert bodies.broken == {}


async def test_an_input_that_is_gone_breaks_its_batch_and_no_other(bodies, blobs):
    whole, other = batch(1, "files/whole"), batch(2, "files/other")
    await blobs.delete("files/whole")

    gone, there = await read(bodies, (whole, lease(whole, 0, 4)), (other, lease(other, 0, 4)))

    assert gone is None
    assert len(there) == 4
    assert list(bodies.broken) == [1]
    assert "cannot be read any more" in bodies.broken[1]


@pytest.mark.parametrize(
    ("count", "says"), [(3, "is not what was validated"), (5, "is not what was validated")]
)
async def test_an_input_with_other_lines_than_validated_breaks_its_batch(bodies, count, says):
    whole = batch(1, "files/whole")
    odd = Lease(Slice(1, 0, count, 0, sum(map(len, LINES))), token=1)

    assert await read(bodies, (whole, odd)) == [None]

    assert says in bodies.broken[1]


async def test_an_input_that_is_no_json_any_more_breaks_its_batch(bodies, blobs):
    writer = blobs.create("files/whole")
    await writer.write(b"x" * sum(map(len, LINES)))
    await writer.commit()
    whole = batch(1, "files/whole")

    assert await read(bodies, (whole, lease(whole, 0, 4))) == [None]

    assert "cannot be read any more" in bodies.broken[1]


def line_without_a_body(of):
    held = Held(of, lease(of, 1, 1), 9, 0.0)
    place = {"offset_bytes": len(LINES[0]), "length_bytes": len(LINES[1])}
    line = ReadyLine(held, 1, "r", "c", None, size_bytes=10, **place)
    held.lines.append(line)
    return line


async def test_a_body_that_made_room_is_read_again(bodies):
    line = line_without_a_body(batch(1, "files/whole"))

    body = await bodies.of(line)

    assert b"q1" in body
    assert await bodies.of(line) is body


async def test_a_body_that_is_gone_breaks_its_batch_and_takes_no_room(blobs, bodies):
    memory = Memory(most_bytes=1 << 20)
    bodies = Bodies(blobs, memory)
    await blobs.delete("files/whole")

    assert await bodies.of(line_without_a_body(batch(1, "files/whole"))) is None

    assert "cannot be read any more" in bodies.broken[1]
    assert memory.held_bytes == 0


async def test_a_disk_that_cannot_be_read_breaks_nothing(blobs):
    """It is tried again later; the room is given back."""

    class Failing:
        async def read_many(self, ranges):
            raise StoreUnavailable("The disk says no.")

    memory = Memory(most_bytes=1 << 20)
    bodies = Bodies(Failing(), memory)
    whole = batch(1, "files/whole")

    with pytest.raises(StoreUnavailable):
        await bodies.of(line_without_a_body(whole))
    with pytest.raises(StoreUnavailable):
        await read(bodies, (whole, lease(whole, 0, 4)))

    assert bodies.broken == {}
    assert memory.held_bytes == 0
