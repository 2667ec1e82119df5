"""What time makes superfluous goes when it should, by the clock that the test moves."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import completion, error
from waiting import until

from batchline.blobs.keys import OWNER_KEY, finish_index_key, result_key
from batchline.metrics import Metrics
from batchline.model import File
from batchline.store import bytes_kept
from dispatcher.upkeep.housekeeping import Rests
from dispatcher.upkeep.sweep import Sweep

DAY = 86400


@pytest.fixture(autouse=True)
def prompt(bench, clock):
    bench.rests, bench.clock = Rests(sweep_s=0.02), clock


def half(body, attempt):
    """Answer even lines, refuse odd ones."""
    is_even = int(body["tag"][1:]) % 2 == 0
    return web.json_response(completion()) if is_even else error(400)


def stored(bench):
    """Every blob, but for the mark of whose they are."""
    return sorted(
        path.relative_to(bench.tmp_path / "blobs").as_posix()
        for path in (bench.tmp_path / "blobs").rglob("*")
        if path.is_file() and path.name != OWNER_KEY
    )


@pytest.mark.spec("3.2-output-expires-after")
async def test_results_expire_so_long_after_they_were_made(bench, upstream, clock):
    """`output_expires_after` counts from the creation of the files, not of the batch."""
    upstream.script = half
    batch = await bench.submit(6, output_expires_after_s=3600)
    clock.advance(7200)  # the batch waited: its own creation is long past
    async with bench.running():
        ended = await bench.ended(batch)
        ids = (ended.output_file_id, ended.error_file_id)
        files = [await bench.store.get_file(i, now=int(clock())) for i in ids]
        clock.advance(3599)
        last = [await bench.store.get_file(i, now=int(clock())) for i in ids]
        clock.advance(1)
        gone = [await bench.store.get_file(i, now=int(clock())) for i in ids]

        async def is_swept():
            return stored(bench) == [batch.input_key]

        await until(is_swept)

    assert [f.created_at for f in files] == [ended.completed_at] * 2
    assert [f.expires_at for f in files] == [ended.completed_at + 3600] * 2
    assert last == files
    assert gone == [None, None]
    assert bench.metrics.registry.get_sample_value("batchline_files_expired_total") == 2


@pytest.mark.spec("6-kept-30-days")
@pytest.mark.parametrize(("ttl_s", "expires"), [(2 * DAY, True), (0, False)])
async def test_results_without_a_wish_get_the_age_of_the_settings(bench, clock, ttl_s, expires):
    """`file_ttl_s`; 0 keeps them."""
    batch = await bench.submit(1)
    async with bench.running(file_ttl_s=ttl_s):
        ended = await bench.ended(batch)

    file = await bench.store.get_file(ended.output_file_id, now=int(clock()))
    assert file.expires_at == (ended.completed_at + ttl_s if expires else None)


async def test_an_input_that_expires_while_its_batch_runs_is_read_to_the_end(
    bench, upstream, clock
):
    """The file is gone for clients at once; its bytes stay until the batch ended, then go."""
    batch = await bench.submit(50, file_expires_in_s=100)
    upstream.health = 503
    async with bench.running():

        async def is_expired():
            metric = bench.metrics.registry.get_sample_value
            return metric("batchline_files_expired_total") == 1

        clock.advance(100)
        await until(is_expired)
        kept = stored(bench)
        upstream.health = 200
        output, errors = await bench.results(await bench.ended(batch))

        async def is_swept():
            return batch.input_key not in stored(bench)

        await until(is_swept)

    assert batch.input_key in kept
    assert (len(output), errors) == (50, [])


@pytest.mark.spec("beyond-batch-expiry")
async def test_an_ended_batch_is_forgotten_at_its_age_and_leaves_no_byte(bench, clock):
    """`batch_ttl_s` from its end: row, lines, segments and lasting results."""
    batch = await bench.submit(5)
    async with bench.running(batch_ttl_s=DAY, file_ttl_s=0):
        ended = await bench.ended(batch)
        clock.advance(DAY - 1)

        async def is_pruned():
            left = [batch.input_key, finish_index_key(batch.id), result_key(batch.id, "output")]
            return not await bench.store.slices(batch) and stored(bench) == sorted(left)

        await until(is_pruned)
        kept = await bench.store.get_batch(batch.id)
        clock.advance(1)

        async def is_forgotten():
            gone = await bench.store.get_batch(batch.id) is None
            return gone and stored(bench) == [batch.input_key]

        await until(is_forgotten)

    assert kept == ended
    assert await bench.store.get_file(ended.output_file_id, now=int(clock())) is None
    assert not list((bench.tmp_path / "blobs/results").iterdir())
    assert bench.metrics.registry.get_sample_value("batchline_batches_dropped_total") == 1


async def test_ended_batches_are_kept_unless_an_age_is_set(store, blobs, make_batch, clock):
    """The default: OpenAI keeps them too."""
    batch = await make_batch(lines=None)
    await store.cancel_batch(batch.id, now=1)
    await store.close(batch, "cancelled", output=None, error=None, now=1)
    sweep = Sweep(store, blobs, metrics=Metrics(), batch_ttl_s=0, clock=clock)
    clock.advance(10_000 * DAY)

    await sweep.step()

    assert await store.get_batch(batch.id) is not None


async def test_a_full_piece_is_followed_by_the_next_at_once(store, blobs, clock):
    """A backlog is worked off in small steps without the usual rest."""
    for number in range(3):
        await store.add_file(File(f"file-{number}", 1, 1, 2, "x", "batch", f"files/{number}"))
    sweep = Sweep(store, blobs, metrics=Metrics(), batch_ttl_s=0, clock=clock, files_at_once=2)

    rests = [await sweep.step() for _ in range(2)]

    assert rests == [0.1, 5.0]
    assert await store.garbage(limit=9) == []


async def test_no_bytes_are_deleted_while_somebody_keeps_them(store, blobs, clock, tmp_path):
    """A backup or a look at everything needs what one moment of the database names."""
    writer = blobs.create("files/a")
    await writer.write(b"x")
    await writer.commit()
    await store.add_file(File("file-a", 1, 0, None, "a", "user_data", "files/a"))
    sweep = Sweep(store, blobs, metrics=Metrics(), batch_ttl_s=0, clock=clock)

    async with bytes_kept(tmp_path / "batchline.sqlite3", clock_ms=clock.ms):
        await store.delete_file("file-a")
        await sweep.step()
        assert await blobs.size("files/a") == 1
    await sweep.step()

    assert await blobs.size("files/a") is None
