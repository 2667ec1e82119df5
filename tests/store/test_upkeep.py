"""`Upkeep`, but for `suspect`: what is forgotten when. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import HOUR, NOW, file, finish, leases, prune_all, settle

from batchline.blobs.keys import file_key, result_key


async def test_files_expire_at_their_second_and_leave_their_bytes_to_the_sweep(store):
    """Forget up to `limit` files past `expires_at`, leaving their bytes as garbage; return how many."""
    for number in range(3):
        await store.add_file(file(str(number), expires_at=NOW + 100))
    await store.add_file(file("kept"))

    assert await store.expire_files(now=NOW + 99, limit=9) == 0
    assert [await store.expire_files(now=NOW + 100, limit=2) for _ in range(3)] == [2, 1, 0]

    page = await store.list_files(now=NOW, after=None, limit=9, ascending=True, purpose=None)
    assert [f.id for f in page.items] == ["file-kept"]
    assert set(await store.garbage(limit=9)) == {file_key(f"file-{n}") for n in range(3)}


async def test_the_bytes_of_an_expired_input_wait_for_the_batch_that_reads_them(store, make_batch):
    """An open batch needs its input, a file its bytes. None while somebody keeps bytes (`Engine`)."""
    await store.add_file(file("in", expires_at=NOW + 1, key="files/in"))
    batch = await make_batch(lines=4)
    assert await store.expire_files(now=NOW + 1, limit=9) == 1

    assert await store.garbage(limit=9) == []
    await finish(store, batch)

    assert "files/in" in await store.garbage(limit=9)


@pytest.fixture
async def ended(store, make_batch):
    """A batch that ended at NOW, with a result file that never expires by itself."""
    batch = await make_batch(lines=4)
    output = file("out", key=result_key(batch.id, "output"))
    await finish(store, batch, output=output)
    return batch


@pytest.mark.spec("beyond-batch-expiry")
async def test_an_ended_batch_is_forgotten_at_its_age_with_its_lasting_results(store, ended):
    """Forget up to `limit` batches that ended by then and are pruned, first those that ended first."""
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW - 1, limit=9) == 0
    assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    assert await store.get_batch(ended.id) is None
    assert await store.get_file("file-out", now=NOW) is None
    assert result_key(ended.id, "output") in await store.garbage(limit=9)


async def test_results_that_expire_by_themselves_outlive_their_batch(store, make_batch):
    """Returns how many.

    Their result files go with them, but those that expire by themselves, and their input files stay.
    """
    batch = await make_batch(lines=4)
    promised = file("out", expires_at=NOW + 99, key=result_key(batch.id, "output"))
    await finish(store, batch, output=promised)
    await prune_all(store)

    assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    assert await store.get_file("file-out", now=NOW) == promised
    assert result_key(batch.id, "output") not in await store.garbage(limit=9)


async def test_the_input_file_is_the_clients_and_stays(store, make_batch):
    """Other batches may use it; it goes by its own age or by DELETE."""
    await store.add_file(file("in", key="files/in"))
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


async def test_garbage_is_told_a_few_keys_at_a_time(store):
    """Return up to `limit` blob keys (or prefixes ending in /) that nothing needs any more.

    Drop keys whose blobs are deleted.
    """
    for name in "abc":
        await store.add_file(file(name))
        await store.delete_file(f"file-{name}")

    some = await store.garbage(limit=2)
    await store.forget_garbage(some)
    rest = await store.garbage(limit=9)

    assert (len(some), len(rest)) == (2, 1)
    assert {*some, *rest} == {file(name).blob_key for name in "abc"}


async def test_bytes_that_a_file_has_again_are_no_garbage(store, make_batch):
    """A publication that was killed writes its files under the same keys."""
    batch = await make_batch(lines=4)
    output = file("out", key=result_key(batch.id, "output"))
    await store.add_file(file("torn", key=output.blob_key))
    await store.delete_file("file-torn")
    await finish(store, batch, output=output)

    assert output.blob_key not in await store.garbage(limit=9)


async def test_prune_drops_rows_of_ended_batches_in_pieces(store, make_batch):
    """Drop rows of lines of batches that ended or are gone, at most `limit`; return how many."""
    ended, gone, running = [await make_batch(lines=12) for _ in range(3)]
    await finish(store, ended)
    await finish(store, gone)
    await store.delete_batch(gone.id)
    for lease in await leases(store, running):
        await settle(store, running, lease)

    dropped = [await store.prune(limit=7) for _ in range(9)]

    assert max(dropped) == 7
    assert sum(dropped) == 2 * (12 + 3 + 3)  # outcomes, segments, slices
    assert dropped[-1] == 0
    for batch in (ended, gone):
        assert await store.outcomes(batch, start=0, stop=99) == []
        assert (await store.segments(batch), await store.slices(batch)) == ([], [])
    assert len(await store.outcomes(running, start=0, stop=99)) == 12


async def test_a_database_keeps_its_identity(engine, tmp_path):
    """Return what tells this database from any other: made with it, for ever."""
    async with engine.open() as store:
        made = await store.identity()
    async with engine.open() as store:
        again = await store.identity()
    other_engine = type(engine)(tmp_path / "other", clock_ms=lambda: 0)
    async with other_engine.open() as store:
        other = await store.identity()

    assert made == again
    assert made != other


async def test_the_backlog_counts_garbage_suspects_and_bytes(store):
    """Return what waits for housekeeping, and the sizes of the database."""
    await store.add_file(file("a"))
    await store.delete_file("file-a")
    await store.suspect(["files/lost", "files/too"], now=NOW, first_seen_before=NOW - 1)

    backlog = await store.backlog()

    assert (backlog.garbage, backlog.suspects) == (1, 2)
    assert backlog.database_bytes > 0
    assert backlog.log_bytes >= 0
    assert 0 <= backlog.free_pages <= backlog.pages


async def test_unused_pages_are_given_back(store):
    """Give up to `pages` unused pages back to the disk; return how many, 0 where none is left."""
    for number in range(300):
        await store.add_file(file("x" * 500 + str(number), expires_at=NOW))
    while await store.expire_files(now=NOW, limit=100):
        pass
    await store.forget_garbage(await store.garbage(limit=999))

    steps = [await store.vacuum(pages=5)]
    while steps[-1]:
        steps.append(await store.vacuum(pages=5))

    assert max(steps) <= 5
    assert (await store.backlog()).free_pages == 0


async def test_the_log_is_emptied_when_nobody_is_in_the_way(store):
    """Empty the write-ahead log and shorten its file; False if somebody was in the way.

    An engine that has no log to look after returns True.
    """
    await store.add_file(file("a"))

    assert await store.checkpoint()
    assert (await store.backlog()).log_bytes == 0
