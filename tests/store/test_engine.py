"""`Engine`: the ways in. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, file, leases

from batchline.errors import NewerStore, StoreUnavailable
from batchline.model import FleetReport


@pytest.mark.parametrize("way", ["open", "audit", "mending", "kept"])
async def test_what_cannot_be_opened_says_so(engine, way):
    """A database that cannot be opened raises StoreUnavailable."""
    engine.move_where_nothing_opens()

    with pytest.raises(StoreUnavailable):
        async with getattr(engine, way)():
            pass
    with pytest.raises(StoreUnavailable):
        engine.last_report()


async def test_a_store_is_made_or_migrated_when_it_is_opened(engine):
    """Open the database at `path`, which is made or migrated if needed. `clock_ms` counts leases."""
    engine.make_older()
    async with engine.open() as store:
        await store.add_file(file())
    async with engine.open() as store:
        assert await store.get_file("file-a", now=NOW) == file()


async def test_a_newer_database_is_refused(engine):
    """Raises NewerStore where a newer version wrote it."""
    async with engine.open():
        pass
    engine.make_newer()

    for way in (engine.open, engine.mending):
        with pytest.raises(NewerStore):
            async with way():
                pass


async def test_bytes_are_kept_while_anybody_keeps_them(engine, store, clock):
    """Keep all bytes that the database at `path` names while the body runs.

    Several may at a time. Whoever is killed keeps them for half a minute more at most.
    """
    await store.add_file(file("a"))
    await store.delete_file("file-a")
    garbage = [file("a").blob_key]

    async with engine.kept(), engine.kept():
        assert await store.garbage(limit=9) == []
        clock.advance(30)
        assert await store.garbage(limit=9) == garbage
        clock.advance(-3600)  # a clock that was set back keeps nothing longer
        assert await store.garbage(limit=9) == garbage
    async with engine.kept():
        async with engine.kept():
            pass
        assert await store.garbage(limit=9) == []
    assert await store.garbage(limit=9) == garbage


async def test_a_report_is_read_without_a_store(engine):
    """Return what a dispatcher last reported to the database at `path`, without opening a store."""
    async with engine.open() as store:
        nothing = engine.last_report()
        await store.report(FleetReport(NOW, []))

    assert (nothing, engine.last_report()) == (None, FleetReport(NOW, []))


async def test_a_store_under_repair_is_a_store(engine, store, make_batch):
    """Open the database at `path`, which nobody else may have open, for repairs."""
    batch = await make_batch(lines=4)

    async with engine.mending() as mending:
        assert len(await leases(mending, batch)) == 1
