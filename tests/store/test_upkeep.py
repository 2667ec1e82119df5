"""The contract of `Upkeep`: what is forgotten when, what counts as named, how the file shrinks."""

from __future__ import annotations

import sqlite3

import pytest
from claims import claim_one

from batchline.blobs.keys import file_key, finish_index_key, result_key, segments_prefix
from batchline.model import File, Outcome, SegmentRef, Settlement
from batchline.states import BatchStatus, OutcomeKind
from batchline.store.sqlite.custody import TTL_S, bytes_kept

NOW = 1_800_000_000
HOUR = 3600


def file(name, *, expires_at=None, key=None):
    return File(name, 1, NOW, expires_at, "f.jsonl", "batch", key or file_key(name))


async def finish(store, batch, *, output=None, now=NOW):
    for lease in (await claim_one(store, batch, slices=99, holder="a", ttl_s=30)).leases:
        lines = range(lease.slice.first, lease.slice.first + lease.slice.count)
        outcomes = [Outcome(i, OutcomeKind.SUCCEEDED, b"{}\n") for i in lines]
        ref = SegmentRef("segments/x", 0, 1)
        await store.settle([Settlement(batch.seq, ref, [(lease, outcomes)])], now=now)
    assert await store.close(batch, BatchStatus.COMPLETED, output=output, error=None, now=now)


async def prune_all(store):
    while await store.prune(limit=100_000):
        pass


async def test_files_expire_at_their_second_and_leave_their_bytes_to_the_sweep(store):
    """Not before, not those without an age, and never more at once than asked for."""
    for number in range(3):
        await store.add_file(file(f"file-{number}", expires_at=NOW + 100))
    await store.add_file(file("file-kept"))

    assert await store.expire_files(now=NOW + 99, limit=9) == 0
    assert [await store.expire_files(now=NOW + 100, limit=2) for _ in range(3)] == [2, 1, 0]

    page = await store.list_files(now=NOW, after=None, limit=9, ascending=True, purpose=None)
    assert [f.id for f in page.items] == ["file-kept"]
    assert set(await store.garbage(limit=9)) == {file_key(f"file-{n}") for n in range(3)}


async def test_the_bytes_of_an_expired_input_wait_for_the_batch_that_reads_them(store, make_batch):
    """A running batch goes on from its own copy."""
    await store.add_file(file("file-in", expires_at=NOW + 1, key="files/in"))
    batch = await make_batch(lines=4)
    assert await store.expire_files(now=NOW + 1, limit=9) == 1

    assert await store.garbage(limit=9) == []
    await finish(store, batch)

    assert "files/in" in await store.garbage(limit=9)


@pytest.fixture
async def ended(store, make_batch):
    """A batch that ended at NOW, with a result file that never expires by itself."""
    batch = await make_batch(lines=4)
    output = file("file-out", key=result_key(batch.id, "output"))
    await finish(store, batch, output=output)
    return batch


@pytest.mark.spec("beyond-batch-expiry")
async def test_an_ended_batch_is_forgotten_at_its_age_with_its_lasting_results(store, ended):
    """The row, and the files that nothing else would ever remove."""
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW - 1, limit=9) == 0
    assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    assert await store.get_batch(ended.id) is None
    assert await store.get_file("file-out", now=NOW) is None
    assert result_key(ended.id, "output") in await store.garbage(limit=9)


async def test_results_that_expire_by_themselves_outlive_their_batch(store, make_batch):
    """What was promised to a client is kept."""
    batch = await make_batch(lines=4)
    promised = file("file-out", expires_at=NOW + 99, key=result_key(batch.id, "output"))
    await finish(store, batch, output=promised)
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    assert await store.get_file("file-out", now=NOW) == promised
    assert result_key(batch.id, "output") not in await store.garbage(limit=9)


async def test_the_input_file_is_the_clients_and_stays(store, make_batch):
    """Other batches may use it; it goes by its own age or by DELETE."""
    await store.add_file(file("file-in", key="files/in"))
    await finish(store, await make_batch(lines=4))
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    assert await store.get_file("file-in", now=NOW) is not None


async def test_only_ended_and_pruned_batches_are_forgotten(store, ended, make_batch):
    """Open ones never, ended ones not before the rows of their lines are gone."""
    running = await make_batch(lines=4)

    assert await store.drop_batches(ended_before=NOW + HOUR, limit=9) == 0
    await prune_all(store)
    assert await store.drop_batches(ended_before=NOW + HOUR, limit=9) == 1

    assert await store.get_batch(running.id) is not None


async def test_batches_are_forgotten_oldest_first_and_a_few_at_a_time(store, make_batch):
    """A first start with a short age does not hold the database."""
    batches = [await make_batch(lines=1) for _ in range(3)]
    for age, batch in enumerate(reversed(batches)):
        await finish(store, batch, now=NOW + age)
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW + 9, limit=2) == 2

    assert [await store.get_batch(b.id) is None for b in batches] == [False, True, True]


async def suspected(store, key, *, now=NOW):
    """Whether the key is noted now, and reported once an hour has passed."""
    first = await store.suspect([key], now=now, first_seen_before=now - HOUR)
    later = await store.suspect([key], now=now + HOUR, first_seen_before=now)
    assert first == []
    return later == [key]


async def test_what_no_row_names_is_reported_when_it_is_still_so_an_hour_later(store):
    """Never on the first look; at the second only if the first was long enough ago."""
    keys = ["files/ab/file-lost", "segments/batch_gone/x.seg", "results/batch_gone/output.jsonl"]

    assert await store.suspect(keys, now=NOW, first_seen_before=NOW - HOUR) == []
    early = await store.suspect(keys, now=NOW + HOUR - 1, first_seen_before=NOW - 1)
    late = await store.suspect(keys, now=NOW + HOUR, first_seen_before=NOW)

    assert early == []
    assert sorted(late) == sorted(keys)


async def test_a_file_names_its_bytes(store):
    """Uploaded or published."""
    await store.add_file(file("file-a"))

    assert not await suspected(store, file_key("file-a"))


async def test_an_open_batch_names_its_input_its_segments_and_its_results(store, make_batch):
    """Even when its input file was deleted, and while its results have no row yet."""
    batch = await make_batch(lines=4)
    mine = [batch.input_key, segments_prefix(batch.id) + "x.seg", result_key(batch.id, "output")]

    assert [await suspected(store, key) for key in mine] == [False] * 3
    await finish(store, batch)
    assert [await suspected(store, key) for key in mine] == [True, False, True]  # one is garbage
    await store.forget_garbage(await store.garbage(limit=9))
    assert await suspected(store, mine[1])


async def test_garbage_is_no_orphan(store):
    """It has its own way out."""
    await store.add_file(file("file-a"))
    await store.delete_file("file-a")

    assert not await suspected(store, file_key("file-a"))


async def test_a_fresh_upload_is_forgiven_when_its_row_came(store):
    """Seen between rename and row, named afterwards, and its note goes with the next pass."""
    key = file_key("file-a")
    assert await store.suspect([key], now=NOW, first_seen_before=NOW - HOUR) == []
    await store.add_file(file("file-a"))

    assert await store.suspect([key], now=NOW + HOUR, first_seen_before=NOW) == []
    assert (await store.backlog()).suspects == 1
    await store.forget_suspects([], seen_before=NOW + 1)
    assert (await store.backlog()).suspects == 0


async def test_the_file_shrinks_in_small_steps_after_pruning(tmp_path, store, make_batch):
    """Rows go, pages are free, the vacuum returns a few at a time, the checkpoint cuts the file."""
    path = tmp_path / "batchline.sqlite3"
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


async def test_a_checkpoint_waits_for_nobody(tmp_path, store):
    """A reader in the way makes it fail at once, not hold up writers."""
    await store.add_file(file("file-a"))
    reader = sqlite3.connect(tmp_path / "batchline.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM files").fetchall()
    await store.add_file(file("file-b"))

    assert not await store.checkpoint()
    reader.execute("COMMIT")
    assert await store.checkpoint()
    reader.close()


async def test_the_overview_tells_what_the_database_takes_on_the_disk(tmp_path, store):
    """The file and its log, as `ls` would add them up."""
    await store.add_file(file("file-a"))
    sizes = [p.stat().st_size for p in tmp_path.glob("batchline.sqlite3*") if "-shm" not in p.name]

    seen = await store.overview(finished_limit=1)

    assert seen.database_bytes == sum(sizes)
    assert len(sizes) == 2


async def test_the_finish_index_goes_with_the_last_result_file(store, make_batch):
    """Whichever way that goes: by its age, or deleted."""
    batch = await make_batch(lines=4)
    index = finish_index_key(batch.id)
    for lease in (await claim_one(store, batch, slices=9, holder="a", ttl_s=30)).leases:
        lines = range(lease.slice.first, lease.slice.first + lease.slice.count)
        outcomes = [Outcome(i, OutcomeKind.SUCCEEDED, b"{}\n") for i in lines]
        ref = SegmentRef("segments/x", 0, 1)
        await store.settle([Settlement(batch.seq, ref, [(lease, outcomes)])], now=NOW)
    output = file("file-out", expires_at=NOW + 9, key=result_key(batch.id, "output"))
    error = file("file-err", key=result_key(batch.id, "error"))
    assert await store.close(batch, BatchStatus.COMPLETED, output=output, error=error, now=NOW)

    assert await store.expire_files(now=NOW + 9, limit=9) == 1
    before = await store.garbage(limit=99)
    assert await store.delete_file("file-err")

    assert index not in before
    assert index in await store.garbage(limit=99)


async def test_garbage_waits_while_somebody_keeps_bytes(store, clock, tmp_path):
    """And no longer: the keeper lets go, or its lease is over."""
    await store.add_file(file("file-a"))
    await store.delete_file("file-a")

    path = tmp_path / "batchline.sqlite3"
    async with bytes_kept(path, clock_ms=clock.ms), bytes_kept(path, clock_ms=clock.ms):
        assert await store.garbage(limit=9) == []
        clock.advance(TTL_S)
        assert await store.garbage(limit=9) == [file_key("file-a")]
        clock.advance(-TTL_S - 600)  # who is alive renews it, who is dead must not gain by it
        assert await store.garbage(limit=9) == [file_key("file-a")]
    async with bytes_kept(path, clock_ms=clock.ms):
        assert await store.garbage(limit=9) == []
    assert await store.garbage(limit=9) == [file_key("file-a")]
