"""Batches that take requests while they run: each request is sent as it comes, and the end is as any other's."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from bench import request_line, settle
from scripted import HANG, completion
from waiting import until

from batchline.blobs.keys import append_key, appends_prefix
from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.process import failpoints
from batchline.states import BatchStatus
from dispatcher.batches.publish import Publisher

LONG_LEASES = {"lease_s": 600}
"""Nothing is looked for again by chance."""


@pytest.fixture(autouse=True)
def disarmed():
    yield
    failpoints.arm("")


def publisher_of(bench, metrics=None):
    return Publisher(
        bench.store,
        bench.blobs,
        metrics=metrics or Metrics(),
        min_free_bytes=0,
        file_ttl_s=0,
        clock=Clock(),
    )


async def input_of(bench, batch):
    """The input file of an ended batch: its row and its bytes."""
    file = await bench.store.get_file(batch.input_file_id, now=int(bench.clock.now()))
    return file, await bench.blobs.read(file.blob_key)


def lines_of(indexes):
    return "".join(f"{request_line(index)}\n" for index in indexes).encode()


@pytest.mark.spec("beyond-open-batch")
async def test_requests_run_as_they_come(bench, upstream):
    """The batch stays in progress while it takes them; finalized, it ends when the last one has."""
    batch = await bench.open_batch()
    async with bench.running(**LONG_LEASES):
        for done, indexes in enumerate((range(3), range(3, 4), range(4, 200), range(200, 201)), 1):
            await bench.append(batch, indexes)
            await until(
                lambda n=indexes.stop: bench.has_finished(batch, n), saw=lambda: upstream.seen
            )
            assert await bench.is_in(batch, BatchStatus.IN_PROGRESS), done
        await bench.finalize(batch)
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert ended.status is BatchStatus.COMPLETED
    assert ([r["custom_id"] for r in output], errors) == ([f"id-{n}" for n in range(201)], [])
    assert set(upstream.seen.values()) == {1}
    assert ended.model == "m"


@pytest.mark.spec("beyond-open-batch-file")
async def test_its_requests_are_its_input_file_in_the_end(bench):
    """In the order in which they were added, those that came again left out; what they lay in is swept."""
    batch = await bench.open_batch()
    await bench.append(batch, range(5))
    added = await bench.append(batch, [3, 9, 4, 8, 7])
    async with bench.running():
        await bench.finalize(batch)
        ended = await bench.ended(batch)

        file, data = await input_of(bench, ended)
        await until(lambda: not list(bench.tmp_path.glob(f"blobs/{appends_prefix(batch.id)}*")))

    assert (added.lines, added.duplicates) == (3, 2)
    assert data == lines_of([0, 1, 2, 3, 4, 9, 8, 7])
    assert (file.bytes, file.purpose, file.filename) == (len(data), "batch", "requests.jsonl")
    output, _ = await bench.results(ended)
    assert [r["custom_id"] for r in output] == [f"id-{n}" for n in (0, 1, 2, 3, 4, 9, 8, 7)]


async def test_a_batch_that_waits_for_requests_is_left_alone(bench, upstream):
    """It is idle, whatever has finished, and takes more after a restart of the dispatcher."""
    batch = await bench.open_batch()
    await bench.append(batch, range(2))
    async with bench.running():
        await until(lambda: bench.has_finished(batch, 2))
    async with bench.running(**LONG_LEASES):
        await bench.append(batch, range(2, 4))
        await until(lambda: bench.has_finished(batch, 4))
        await bench.finalize(batch)
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 4)


@pytest.mark.spec("beyond-open-batch-empty")
@pytest.mark.parametrize("is_lapsed", [False, True])
async def test_a_batch_without_any_request_fails(bench, is_lapsed):
    """As an empty file does."""
    batch = await bench.open_batch(expires_in_s=0 if is_lapsed else 100)
    async with bench.running():
        if not is_lapsed:
            await bench.finalize(batch)
        ended = await bench.ended(batch)

    assert ended.status is BatchStatus.FAILED
    assert [fault.code for fault in ended.faults] == ["empty_file"]


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_requests_that_never_ran_are_in_the_error_file(bench, upstream, ending):
    """As of any other batch; their bodies lie in what was appended until then."""
    batch = await bench.open_batch()
    await bench.append(batch, range(2))
    upstream.script = _hanging_from(2)
    async with bench.running():
        await until(lambda: bench.has_finished(batch, 2))
        await bench.append(batch, range(2, 4))
        await bench.append(batch, range(4, 100))
        if ending == "cancelled":
            await bench.store.cancel_batch(batch.id, now=int(bench.clock.now()))
        else:
            await bench.store.lapse(now=batch.expires_at)
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert str(ended.status) == ending
    assert [r["custom_id"] for r in output] == ["id-0", "id-1"]
    assert [r["custom_id"] for r in errors] == [f"id-{n}" for n in range(2, 100)]
    assert {r["error"]["code"] for r in errors} == {f"batch_{ending}"}
    assert (await input_of(bench, ended))[1] == lines_of(range(100))


def _hanging_from(first):
    def script(body, attempt):
        if int(body["tag"][1:]) >= first:
            return HANG
        return web.json_response(completion())

    return script


async def test_a_pause_holds_what_comes_meanwhile(bench, upstream):
    """It is taken, and sent after the resume."""
    batch = await bench.open_batch()
    await bench.store.pause_batch(batch.id, now=int(bench.clock.now()))
    async with bench.running(**LONG_LEASES):
        await bench.append(batch, range(3))
        await bench.finalize(batch)
        other = await bench.submit(2)
        await bench.ended(other)
        waiting = await bench.store.get_batch(batch.id)
        await bench.store.resume_batch(batch.id)
        ended = await bench.ended(batch)

    assert (waiting.counts.finished, waiting.counts.total) == (0, 3)
    assert ended.counts.completed == 3


async def test_requests_may_name_several_models(bench, upstream):
    """Also one that the first of them did not name: each goes where its own model is."""
    upstream.models = ["m", "org/n"]
    batch = await bench.open_batch()
    async with bench.running(**LONG_LEASES):
        await bench.append(batch, [0], model="m")
        await until(lambda: bench.has_finished(batch, 1))
        await bench.append(batch, [1], model="org/n")
        await bench.finalize(batch)
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.model) == (2, None)


async def test_bodies_that_had_to_make_room_are_read_again(bench, upstream):
    """From the append that their line lies in."""
    batch = await bench.open_batch()
    for index in range(6):
        await bench.append(batch, [2 * index, 2 * index + 1], pad="x" * 40_000)
    await bench.finalize(batch)
    async with bench.running(max_held_bytes=1 << 20, max_in_flight=2):
        ended = await bench.ended(batch)

    output, _ = await bench.results(ended)
    assert [r["custom_id"] for r in output] == [f"id-{n}" for n in range(12)]


async def test_a_lost_append_fails_its_batch_alone(bench, upstream):
    """It says which bytes are gone."""
    batch, other = await bench.open_batch(), await bench.open_batch()
    await bench.append(batch, range(2))
    (piece,) = await bench.store.slices(batch)
    await bench.blobs.delete(append_key(batch.id, piece.append))
    await bench.append(other, range(2))
    async with bench.running():
        await bench.finalize(other)
        ends = [await bench.ended(batch), await bench.ended(other)]

    assert [end.status for end in ends] == [BatchStatus.FAILED, BatchStatus.COMPLETED]
    assert "cannot be read any more" in ends[0].faults[0].message


async def drained(bench, indexes=range(5)):
    """A finalized batch of which every request has its answer, not yet published."""
    batch = await bench.open_batch()
    await bench.append(batch, indexes)
    await settle(bench, batch, range(len(indexes)))
    return await bench.finalize(batch)


@pytest.mark.parametrize("point", ["publish.joined", "publish.rows"])
async def test_a_publish_that_was_cut_runs_again_to_the_same_file(bench, point):
    """Nothing of the appends is gone before the batch has ended."""
    batch = await drained(bench)
    publisher = publisher_of(bench)
    failpoints.arm(f"{point}=error")
    with pytest.raises(StoreUnavailable):
        await publisher.publish(batch)
    before = await bench.blobs.read(batch.input_key)
    unnamed = await bench.store.get_file(batch.input_file_id, now=int(bench.clock.now()))

    await publisher_of(bench).publish(batch)

    ended = await bench.store.get_batch(batch.id)
    assert ended.status is BatchStatus.COMPLETED
    assert unnamed is None
    assert (await input_of(bench, ended))[1] == before == lines_of(range(5))


async def test_a_publisher_that_comes_late_leaves_the_file_as_it_is(bench):
    """Rows of the ended batch go meanwhile, so that it would write less."""
    batch = await drained(bench)
    metrics = Metrics()
    late = publisher_of(bench, metrics)
    await publisher_of(bench).publish(batch)
    while await bench.store.prune(limit=1000):
        pass

    await late.publish(batch)

    ended = await bench.store.get_batch(batch.id)
    assert (await input_of(bench, ended))[1] == lines_of(range(5))
    assert metrics.registry.get_sample_value("batchline_conservation_violations_total") == 0


async def test_thousands_of_appends_of_one_line_are_joined(bench):
    """Page by page, and with few files open at a time."""
    batch = await bench.open_batch()
    for index in range(300):
        await bench.append(batch, [index])
    await bench.store.cancel_batch(batch.id, now=int(bench.clock.now()))
    await publisher_of(bench).publish(await bench.store.get_batch(batch.id))

    ended = await bench.store.get_batch(batch.id)
    output, errors = await bench.results(ended)
    assert (output, [r["custom_id"] for r in errors]) == ([], [f"id-{n}" for n in range(300)])
    _, data = await input_of(bench, ended)
    assert [json.loads(line)["custom_id"] for line in data.splitlines()] == [
        f"id-{n}" for n in range(300)
    ]
