"""One poller, many viewers."""

from __future__ import annotations

import asyncio

import pytest
from scene import Disk, batch, overview, report
from waiting import until

from batchline.errors import StoreUnavailable
from batchline.model import Counts
from dashboard.poller import Live


@pytest.fixture
def live(stage, metrics, clock):
    return Live(view=stage, blobs=Disk(), metrics=metrics, clock=clock)


def _at(finished):
    seen = batch(1, counts=Counts(100, finished))
    return overview(open_batches=(seen,), report=report(in_flight={seen.id: 4}))


async def test_the_first_change_is_the_whole_page(live, stage):
    """A new viewer gets every figure and every shape."""
    await live.refresh()

    change = await anext(live.changes())

    assert change.figures["s.head"] == "Ready. Nothing has been run yet."
    assert set(change.shapes) >= {"sentence", "running", "backends", "finished"}


async def test_later_changes_hold_only_what_changed(live, stage, clock):
    """One finished line sends its own figures, and no shape."""
    stage.seen = _at(10)
    await live.refresh()
    changes = live.changes()
    await anext(changes)

    stage.seen = _at(11)
    await live.refresh()
    change = await anext(changes)

    assert change.shapes == {}
    assert {k.rsplit(".", 1)[-1] for k in change.figures} >= {"done", "of", "dw"}
    assert "s.head" not in change.figures
    assert "d.db" not in change.figures


async def test_a_slow_viewer_skips_pages(live, stage, clock):
    """Nothing is queued: after many changes the newest is sent, once."""
    stage.seen = _at(0)
    await live.refresh()
    changes = live.changes()
    await anext(changes)
    for finished in range(1, 50):
        stage.seen = _at(finished)
        await live.refresh()

    change = await anext(changes)

    assert [v for k, v in change.figures.items() if k.endswith(".done")] == ["49"]
    assert change.number == 50


async def test_figures_that_are_gone_are_told(live, stage, clock):
    """The figures of a batch that ended are dropped."""
    stage.seen = _at(1)
    await live.refresh()
    changes = live.changes()
    await anext(changes)

    stage.seen = overview()
    await live.refresh()
    change = await anext(changes)

    assert any(k.endswith(".done") and v is None for k, v in change.figures.items())
    assert "running" in change.shapes


async def test_many_viewers_cost_one_look(live, stage, clock):
    """Ten viewers read the database as often as one: once for the page, once for each change."""
    streams = [live.changes() for _ in range(10)]
    await asyncio.gather(*(live.newest() for _ in range(10)), *map(anext, streams))
    assert stage.looks == 1

    stage.seen = _at(1)
    clock.advance(1)
    await asyncio.gather(*(live.newest() for _ in range(10)))

    assert ["running" in (await anext(stream)).shapes for stream in streams] == [True] * 10
    assert stage.looks == 2


async def test_a_snapshot_older_than_a_second_is_read_anew(live, stage, clock):
    """A page is never older than a second."""
    await live.newest()
    clock.advance(1)
    await live.newest()

    assert stage.looks == 2


async def test_viewers_are_counted(live, metrics):
    """The metric rises and falls with the streams."""
    async with live.watching():
        assert metrics.sse_clients._value.get() == 1
    assert metrics.sse_clients._value.get() == 0


async def test_a_database_fault_keeps_the_last_figures(live, stage, clock):
    """The page goes on with what was last read, and says so."""
    stage.seen = _at(10)
    await live.refresh()
    stage.fault = StoreUnavailable("The database is locked.")
    clock.advance(5)

    shown = (await live.refresh()).shown

    assert shown.figures["n.0.head"] == "The database has not answered for 0 seconds."
    assert "The database is locked." in shown.figures["n.0.text"]
    stage.fault = None
    assert not (await live.refresh()).shown.parts["notices"].shown


async def test_a_fault_before_the_first_look_is_raised(live, stage):
    """Without any figures there is no page."""
    stage.fault = StoreUnavailable("The database is locked.")

    with pytest.raises(StoreUnavailable):
        await live.newest()


async def test_closing_ends_the_streams(live):
    """The server can stop while pages watch."""
    await live.refresh()
    seen, changes = [], live.changes()

    async def watch():
        seen.extend([await anext(changes)])
        assert [change async for change in changes] == []

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await until(lambda: seen)
        await live.close()


async def test_the_poller_looks_without_viewers_and_at_once_with_one(stage, metrics, clock):
    """History grows while nobody watches; a viewer wakes the poller."""
    live = Live(view=stage, blobs=Disk(), metrics=metrics, clock=clock)
    poller = asyncio.create_task(live.run())
    try:
        looks = await until(lambda: stage.looks)
        async with live.watching():
            await until(lambda: stage.looks > looks)
    finally:
        poller.cancel()
    assert stage.looks >= 2


async def test_a_silent_dispatcher_is_asked_for_with_a_write(live, stage, clock):
    """It may be silent because nothing can be written: then the page says so."""
    stage.seen = overview(report=report(at=clock.at - 30))
    stage.refusal = StoreUnavailable("The database cannot grow: the disk is full.")

    refused = (await live.refresh()).shown.figures
    stage.refusal = None
    silent = (await live.refresh()).shown.figures

    assert refused["n.0.head"] == "Nothing can be stored."
    assert refused["n.0.text"].startswith("The database cannot grow: the disk is full.")
    assert silent["n.0.head"] == "The dispatcher has not reported for 30 seconds."


async def test_a_locked_database_does_not_hold_the_page(live, stage, clock):
    """A dispatcher that was stopped in the middle of a write keeps the lock: the page loads all the same."""
    stage.seen = overview(report=report(at=clock.at - 30))
    stage.refusal = StoreUnavailable("The database is held by another process for too long.")
    stage.lock.clear()

    async with asyncio.timeout(60):
        first = (await live.refresh()).shown.figures
        again = (await live.refresh()).shown.figures
        stage.lock.set()
        later = (await live.refresh()).shown.figures
    await live.close()

    assert {f["n.0.head"] for f in (first, again)} == {
        "The dispatcher has not reported for 30 seconds."
    }
    assert later["n.0.text"].startswith("The database is held by another process")
