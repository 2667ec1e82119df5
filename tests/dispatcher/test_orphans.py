"""Bytes that no row names go an hour after they were first seen so; nothing else ever does."""

from __future__ import annotations

import pytest

from batchline.blobs.keys import OWNER_KEY, file_key, result_key, segments_prefix
from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.model import Fault, File
from batchline.store import open_store
from dispatcher.upkeep.orphans import Orphans

HOUR = 3600
FAULT = Fault("internal_error", "gone")


class Breaking:
    """The real store, whose `note_unnamed` refuses once."""

    def __init__(self, store):
        self.store, self.refusals = store, 1

    async def note_unnamed(self, keys, **when):
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("locked")
        return await self.store.note_unnamed(keys, **when)

    async def identity(self):
        return await self.store.identity()

    async def forget_unnamed(self, keys, **when):
        await self.store.forget_unnamed(keys, **when)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def orphans(store, blobs, metrics, clock):
    return Orphans(store, blobs, metrics=metrics, clock=clock)


async def one_pass(orphans):
    while await orphans.step() < HOUR:
        pass


async def write(blobs, key, data=b"12345"):
    writer = blobs.create(key)
    await writer.write(data)
    await writer.commit()
    return key


async def present(blobs, *keys):
    return [await blobs.size(key) is not None for key in keys]


@pytest.mark.spec("beyond-orphans")
async def test_an_upload_that_died_before_its_row_is_deleted_an_hour_later(
    orphans, blobs, metrics, clock
):
    """Seen unnamed in two passes an hour apart; counted with its bytes."""
    lost = await write(blobs, file_key("file-lost"))
    await one_pass(orphans)
    clock.advance(HOUR - 1)
    await one_pass(orphans)
    assert await present(blobs, lost) == [True]

    clock.advance(1)
    await one_pass(orphans)

    assert await present(blobs, lost) == [False]
    value = metrics.registry.get_sample_value
    assert value("batchline_orphan_blobs_deleted_total", {"kind": "unnamed"}) == 1
    assert value("batchline_orphan_bytes_deleted_total", {"kind": "unnamed"}) == 5


@pytest.mark.spec("beyond-orphans")
async def test_what_rows_name_is_never_touched(orphans, store, blobs, make_batch, clock):
    """A file; an open batch's segments, unpublished results and deleted input."""
    await store.add_file(
        File("file-a", 5, 1, None, "a", "batch", await write(blobs, file_key("file-a")))
    )
    batch = await make_batch(lines=4)
    named = [
        file_key("file-a"),
        await write(blobs, batch.input_key),
        await write(blobs, result_key(batch.id, "output")),
        (await blobs.put_segment(segments_prefix(batch.id), [(0, b"{}\n")])).key,
    ]

    for _ in range(3):
        await one_pass(orphans)
        clock.advance(HOUR)

    assert await present(blobs, *named) == [True] * 4


async def test_a_late_result_of_an_ended_batch_leaves_nothing(
    orphans, store, blobs, make_batch, clock
):
    """Its segment is written again after the folder was deleted as garbage."""
    batch = await make_batch(lines=4)
    await store.break_batch(batch, FAULT, now=int(clock()))
    await store.forget_garbage([segments_prefix(batch.id)])
    late = (await blobs.put_segment(segments_prefix(batch.id), [(0, b"{}\n")])).key

    await one_pass(orphans)
    clock.advance(HOUR)
    await one_pass(orphans)

    assert await present(blobs, late) == [False]


async def test_a_row_that_came_after_the_first_look_saves_its_bytes(orphans, store, blobs, clock):
    """The race of a fresh upload: renamed, seen, and only then in the database."""
    key = await write(blobs, file_key("file-a"))
    await one_pass(orphans)
    await store.add_file(File("file-a", 5, 1, None, "a", "batch", key))

    clock.advance(HOUR)
    await one_pass(orphans)
    clock.advance(HOUR)
    await one_pass(orphans)

    assert await present(blobs, key) == [True]
    assert (await store.backlog()).unnamed == 0


async def test_what_was_noted_survives_a_restart(store, blobs, metrics, clock):
    """A dispatcher that restarts every half hour still comes to delete it."""
    lost = await write(blobs, file_key("file-lost"))
    for _ in range(3):
        await one_pass(Orphans(store, blobs, metrics=metrics, clock=clock))
        clock.advance(HOUR / 2)

    assert await present(blobs, lost) == [False]


async def test_many_orphans_go_piece_by_piece(orphans, blobs, metrics, clock):
    """No step looks at more than a piece, whatever lies there."""
    for number in range(1203):
        path = blobs._path(file_key(f"file-{number}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    await one_pass(orphans)
    clock.advance(HOUR)

    steps, deleted = 1, []
    while await orphans.step() < HOUR:
        steps += 1
        deleted.append(
            metrics.registry.get_sample_value(
                "batchline_orphan_blobs_deleted_total", {"kind": "unnamed"}
            )
        )

    assert steps == 4
    assert deleted == [500, 1000, 1203]


async def test_a_pass_that_broke_begins_anew(store, blobs, metrics, clock):
    """The store refuses once: the next pass finds the same."""
    lost = await write(blobs, file_key("file-lost"))
    orphans = Orphans(Breaking(store), blobs, metrics=metrics, clock=clock)
    with pytest.raises(StoreUnavailable):
        await orphans.step()

    await one_pass(orphans)
    clock.advance(HOUR)
    await one_pass(orphans)

    assert await present(blobs, lost) == [False]


async def test_temporary_files_of_dead_writers_go_at_once(orphans, blobs, tmp_path, metrics):
    """Nobody holds them any more; those being written stay."""
    writing = blobs.create(file_key("file-slow"))
    await writing.write(b"x" * (2 << 20))
    (tmp_path / "blobs/tmp/dead").write_bytes(b"123")

    await one_pass(orphans)
    await writing.commit()

    assert await present(blobs, file_key("file-slow")) == [True]
    assert list((tmp_path / "blobs/tmp").iterdir()) == []
    value = metrics.registry.get_sample_value
    assert value("batchline_orphan_bytes_deleted_total", {"kind": "temporary"}) == 3


async def test_bytes_of_another_database_are_never_deleted(
    orphans, blobs, tmp_path, metrics, clock, caplog
):
    """The database was lost and a new one made: what no row names now is all that is left."""
    treasure = await write(blobs, file_key("file-old"))
    await one_pass(orphans)
    async with open_store(tmp_path / "new.sqlite3", clock_ms=clock.ms) as new:
        beside = Orphans(new, blobs, metrics=metrics, clock=clock)
        for _ in range(3):
            await one_pass(beside)
            clock.advance(HOUR)
        kept = await present(blobs, treasure)
        refusals = [r for r in caplog.records if "belong to another database" in r.message]

        await blobs.delete(OWNER_KEY)  # what the message advises
        for _ in range(2):
            await one_pass(beside)
            clock.advance(HOUR)

    assert kept == [True]
    assert len(refusals) == 3
    assert await present(blobs, treasure) == [False]


async def test_a_database_keeps_its_identity(tmp_path, store, clock):
    """Over restarts; and no two have the same."""
    mine = await store.identity()
    async with open_store(tmp_path / "batchline.sqlite3", clock_ms=clock.ms) as again:
        assert await again.identity() == mine
    async with open_store(tmp_path / "other.sqlite3", clock_ms=clock.ms) as other:
        assert await other.identity() != mine
