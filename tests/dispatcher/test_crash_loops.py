"""Batches on which dispatchers die: counted, run alone, set aside; those that get on never are."""

from __future__ import annotations

import pytest
from aiohttp import web
from claims import claim_one
from scripted import HANG, completion
from waiting import until

from batchline.model import Batch
from batchline.states import BatchStatus
from dispatcher.batches import crash_loops

NOW = 1_800_000_000


def batch(seq, deaths, status=BatchStatus.IN_PROGRESS, paused_at=None):
    fields = {"endpoint": "/", "input_file_id": "f", "input_key": "k", "completion_window": "24h"}
    times = {"created_at": NOW, "expires_at": NOW, "paused_at": paused_at}
    return Batch(seq=seq, id=f"batch_{seq}", status=status, deaths=deaths, **fields, **times)


@pytest.mark.parametrize(
    ("fields", "is_crashing"),
    [
        ({"deaths": 4}, False),
        ({"deaths": 5}, True),
        ({"deaths": 5, "status": BatchStatus.VALIDATING}, True),
        ({"deaths": 5, "paused_at": NOW}, False),
        ({"deaths": 20, "status": BatchStatus.CANCELLING}, False),
    ],
)
def test_a_batch_with_five_deaths_is_crashing(fields, is_crashing):
    """Not while it is paused; and what only remains to be published is published."""
    assert crash_loops.is_crashing(batch(1, **fields)) is is_crashing


def test_of_the_crashing_the_one_with_the_fewest_deaths_runs():
    """Of those the oldest."""
    assert crash_loops.first([batch(1, 7), batch(2, 5), batch(4, 5)]).seq == 2
    assert crash_loops.first([]) is None


@pytest.mark.parametrize(
    ("deaths", "paused_at", "is_stopped"),
    [(24, None, False), (25, None, True), (25, NOW, False)],
)
def test_a_batch_is_stopped_after_25_deaths_without_a_line(deaths, paused_at, is_stopped):
    """Not sooner, and not again while it is paused."""
    assert (crash_loops.verdict(batch(1, deaths, paused_at=paused_at)) is not None) is is_stopped


async def die(bench, found, times):
    """Let dispatchers of this host die while they hold a slice of the batch."""
    for _ in range(times):
        await claim_one(bench.store, found, slices=1, holder="local/dead", ttl_s=600)
        await bench.store.recover("local/", died=True)


async def admitted(bench, lines):
    """Bring a batch to in_progress without sending anything."""
    bench.upstream.health = 503
    made = await bench.submit(lines)
    async with bench.running():
        await until(lambda: bench.is_in(made, BatchStatus.IN_PROGRESS))
    bench.upstream.health = 200
    return await bench.store.get_batch(made.id)


async def test_a_batch_that_kills_its_dispatcher_is_paused_with_the_reason(bench, upstream):
    """It keeps what it has, says why, and goes on when it is resumed."""
    made = await admitted(bench, 6)
    await die(bench, made, 25)

    async with bench.running():
        await until(lambda: bench.is_paused(made))
        found = await bench.store.get_batch(made.id)
        sent = dict(upstream.seen)
        await bench.store.resume_batch(made.id)
        ended = await bench.ended(made)

    assert found.status is BatchStatus.IN_PROGRESS
    assert found.faults[0].code == "dispatcher_died"
    assert "died 25 times in a row" in found.faults[0].message
    assert not sent
    assert (ended.status, ended.faults) == (BatchStatus.COMPLETED, None)


async def test_200_deaths_of_a_batch_that_gets_on_are_no_reason_to_stop_it(bench, upstream):
    """Ten in a row without a line, then one line, again and again."""
    made = await admitted(bench, 40)
    for _ in range(20):
        await die(bench, made, 10)
        upstream.script = answer_once()
        before = (await bench.store.get_batch(made.id)).counts.finished
        async with bench.running(grace_s=0):
            await until(lambda n=before + 1: bench.has_finished(made, n))
        assert not (await bench.store.get_batch(made.id)).faults
    upstream.script = lambda body, attempt: web.json_response(completion())
    async with bench.running():
        ended = await bench.ended(made)

    assert ended.status is BatchStatus.COMPLETED


def answer_once():
    """A script that answers one line and lets the others hang."""
    answered = []

    def script(body, attempt):
        if answered:
            return HANG
        answered.append(body)
        return web.json_response(completion())

    return script


async def test_crashing_batches_run_one_after_the_other_until_they_are_cleared(bench, upstream):
    """Two batches died together: the first alone, the second once a line of the first is finished."""
    first, second = await admitted(bench, 3), await admitted(bench, 3)
    for _ in range(6):
        for made in (first, second):
            await claim_one(bench.store, made, slices=1, holder="local/dead", ttl_s=600)
        await bench.store.recover("local/", died=True)
    sent = []

    def script(body, attempt):
        sent.append(upstream.request_ids[-1])
        return HANG if not upstream.release.is_set() else web.json_response(completion())

    upstream.script = script
    async with bench.running():
        await until(lambda: len(sent) == 3)
        before = {name[10:34] for name in sent}
        upstream.release.set()
        ends = [await bench.ended(made) for made in (first, second)]

    assert before == {first.id.removeprefix("batch_")[:24]}
    assert [end.status for end in ends] == [BatchStatus.COMPLETED] * 2


async def test_a_dispatcher_that_is_stopped_has_not_died(bench, upstream):
    """It gives back what it holds; nothing counts against the batch."""
    upstream.script = lambda body, attempt: HANG
    made = await bench.submit(3)
    async with bench.running(grace_s=0):
        await until(lambda: upstream.in_flight == 3)
    await bench.store.recover("local/", died=True)

    assert (await bench.store.get_batch(made.id)).deaths == 0


async def test_deaths_while_validating_count_too(bench):
    """There is nothing to keep: it fails with the reason."""
    made = await bench.submit(3)
    for number in range(25):
        found = await bench.store.get_batch(made.id)
        await bench.store.begin(found, holder=f"local/{number}")
        await bench.store.recover("local/", died=True)

    async with bench.running():
        ended = await bench.ended(made)

    assert (ended.status, ended.faults[0].code) == (BatchStatus.FAILED, "dispatcher_died")


@pytest.mark.parametrize(
    ("deaths", "status", "patience_s"),
    [
        (4, BatchStatus.FINALIZING, 0),
        (5, BatchStatus.FINALIZING, 1),
        (9, BatchStatus.CANCELLING, 16),
        (1000, BatchStatus.FINALIZING, 600),
        (1000, BatchStatus.IN_PROGRESS, 0),
    ],
)
def test_results_are_written_out_in_the_end_but_ever_later(deaths, status, patience_s):
    """A dispatcher that dies while it publishes serves others before it tries again."""
    found = batch(1, deaths, status)

    assert crash_loops.patience_s(found) == patience_s
    assert status is BatchStatus.IN_PROGRESS or crash_loops.verdict(found) is None


async def test_a_batch_whose_publisher_died_often_waits_and_says_so(bench):
    """Ten minutes after the start; until then the report names it."""
    made = await bench.submit(3)
    await bench.store.cancel_batch(made.id, now=made.created_at)
    for _ in range(20):
        await bench.store.begin(await bench.store.get_batch(made.id), holder="local/1")
        await bench.store.recover("local/", died=True)

    async with bench.running():
        await until(lambda: says(bench, made, "died on it 20 times"))

    assert (await bench.store.get_batch(made.id)).status is BatchStatus.CANCELLING


async def says(bench, made, text):
    report = await bench.store.fleet_report()
    return report is not None and text in report.waiting.get(made.id, "")
