"""`View`. Docstrings are the contract's sentences."""

from __future__ import annotations

from steps import NOW, file

from batchline.model import BackendStatus, Fault, FleetReport, NewBatch


async def test_the_overview_shows_open_batches_files_report_and_size(store, make_batch):
    """Return the open batches, oldest first, the files, the last report, and the database's size."""
    batches = [await make_batch(lines=4), await make_batch(), await make_batch()]
    await store.reject(batches[1], [Fault("x", "y")], now=NOW)
    await store.add_file(file("a"))
    await store.add_file(file("b"))
    await store.report(FleetReport(NOW, []))

    seen = await store.overview(finished_limit=5)

    assert [b.id for b in seen.open_batches] == [batches[0].id, batches[2].id]
    assert (seen.files, seen.files_bytes) == (2, 20)
    assert seen.report == FleetReport(NOW, [])
    assert seen.database_bytes > 0


async def test_the_overview_shows_batches_that_have_ended(store, make_batch):
    """And so many of those that have ended and are no responses, the last created first."""
    batches = [await make_batch() for _ in range(3)]
    hidden = await store.add_batch(
        NewBatch("batch_h", "/v1/x", "file-h", "files/h", "24h", NOW, NOW + 9, is_response=True)
    )
    for batch in (*reversed(batches), hidden):
        await store.reject(batch, [Fault("x", "y")], now=NOW)

    seen = await store.overview(finished_limit=2)

    assert [b.id for b in seen.finished] == [batches[2].id, batches[1].id]
    assert seen.open_batches == []


async def test_the_last_report_travels_whole(store):
    """Return what the dispatcher last reported, or None if none ever did.

    Publish what the dispatcher sees, instead of what was published before.
    """
    backend = BackendStatus("gpu-0", "http://x", alive=True, since=5, models=["m"], running=3)
    report = FleetReport(NOW, [backend], {"batch_x": 3}, 64, None)

    assert await store.fleet_report() is None
    await store.report(FleetReport(NOW - 1))
    await store.report(report)
    assert await store.fleet_report() == report


async def test_a_trial_of_writing_changes_nothing(store, make_batch):
    """Write something, durably, that changes nothing."""
    await make_batch(lines=4)
    before = (await store.overview(finished_limit=9), await store.changes(after=None))

    await store.check_writable()

    after = (await store.overview(finished_limit=9), await store.changes(after=None))
    assert after[0].open_batches == before[0].open_batches
    assert after[1] == before[1]
    assert await store.garbage(limit=9) == []
