"""The database file itself: how it shrinks, who waits for whom, what it takes on the disk."""

from __future__ import annotations

import sqlite3

import pytest
from steps import file, finish, prune_all

from batchline.errors import NewerStore, StoreUnavailable


async def test_a_newer_database_is_refused_by_its_schema(engine, store):
    """An older version does not touch what it does not know."""
    engine.make_newer()

    with pytest.raises(NewerStore, match="schema 999"):
        async with engine.open():
            pass
    with pytest.raises(NewerStore, match="schema 999"):
        await store.add_file(file())


async def test_a_path_that_cannot_be_opened_is_named(engine):
    """Else nobody knows which of two data directories is meant."""
    engine.move_where_nothing_opens()

    with pytest.raises(StoreUnavailable, match=str(engine.path)):
        async with engine.open():
            pass


async def test_the_file_shrinks_in_small_steps_after_pruning(engine, store, make_batch):
    """Rows go, pages are free, the vacuum returns a few at a time, the checkpoint cuts the file."""
    path = engine.path
    batch = await make_batch(lines=60_000, slice_lines=1000)
    await finish(store, batch)
    await store.checkpoint()
    full_bytes = path.stat().st_size
    await prune_all(store)
    before = await store.backlog()

    steps = [await store.vacuum(pages=50)]
    while steps[-1]:
        steps.append(await store.vacuum(pages=50))
    was_free = await store.checkpoint()
    after = await store.backlog()

    assert before.free_pages > before.pages / 2
    assert max(steps) == 50
    assert sum(steps) == before.free_pages
    assert was_free
    assert after.free_pages == 0
    assert path.stat().st_size == after.database_bytes < full_bytes / 3
    assert after.log_bytes == 0


async def test_a_checkpoint_waits_for_nobody(engine, store):
    """A reader in the way makes it fail at once, not hold up writers."""
    await store.add_file(file("a"))
    reader = sqlite3.connect(engine.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM files").fetchall()
    await store.add_file(file("b"))

    assert not await store.checkpoint()
    reader.execute("COMMIT")
    assert await store.checkpoint()
    reader.close()


async def test_the_overview_tells_what_the_database_takes_on_the_disk(engine, store):
    """The file and its log, as `ls` would add them up."""
    await store.add_file(file("a"))
    sizes = [
        p.stat().st_size
        for p in engine.path.parent.glob(f"{engine.path.name}*")
        if "-shm" not in p.name
    ]

    seen = await store.overview(finished_limit=1)

    assert seen.database_bytes == sum(sizes)
    assert len(sizes) == 2
