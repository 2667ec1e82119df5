"""A batch of which most lines fail pauses by itself, if its owner wants that."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import Share, completion, error
from waiting import until

from batchline.model import Batch, Counts
from batchline.states import BatchStatus, OnFailures
from dispatcher.attempts import pause_on_failures
from dispatcher.replies.verdict import Answer, NoAnswer

NOW = 1_800_000_000
LINES = 3000


def batch(completed, failed, *, on_failures=OnFailures.PAUSE, before=(0, 0), **fields):
    usual = {
        "status": BatchStatus.IN_PROGRESS,
        "endpoint": "/v1/chat/completions",
        "input_file_id": "f",
        "input_key": "k",
        "completion_window": "24h",
        "created_at": NOW,
        "expires_at": NOW,
    }
    return Batch(
        seq=1,
        id="batch_1",
        on_failures=on_failures,
        counts=Counts(10_000, completed, failed),
        finished_at_resume=before[0],
        failed_at_resume=before[1],
        **usual | fields,
    )


@pytest.mark.parametrize(
    ("found", "pauses"),
    [
        (batch(0, 49), False),
        (batch(0, 50), True),
        (batch(25, 25), False),
        (batch(24, 26), True),
        (batch(5000, 4999), False),
        (batch(0, 50, on_failures=OnFailures.CONTINUE), False),
        (batch(0, 50, paused_at=NOW), False),
        (batch(0, 50, status=BatchStatus.CANCELLING), False),
        (batch(0, 99, before=(50, 50)), False),
        (batch(0, 100, before=(50, 50)), True),
        (batch(1000, 60, before=(1010, 10)), True),
        (batch(900, 900, before=(1750, 900)), False),
    ],
)
def test_it_pauses_from_fifty_lines_on_if_more_than_half_failed(found, pauses):
    """Since it was last resumed; not unless it is wanted, and not twice."""
    assert (pause_on_failures.why_pause(found, pause_on_failures.Failures()) is not None) is pauses


def test_the_commonest_failures_are_the_reason():
    """Kinds of messages, not each message; without any known the counts still tell."""
    failures = pause_on_failures.Failures()
    for number in range(40):
        body = b'{"error": {"message": "prompt %d is too long", "type": "BadRequestError"}}'
        failures.note("batch_1", Answer(400, body % number, "x"))
    for _ in range(10):
        failures.note("batch_1", NoAnswer("upstream_lost", "The connection broke."))
    failures.note("batch_2", NoAnswer("other", "Of another batch."))

    told = pause_on_failures.why_pause(batch(1, 50), failures)
    failures.forget("batch_1")
    untold = pause_on_failures.why_pause(batch(1, 50), failures)

    assert told.code == "most_requests_failed"
    assert told.message.startswith(
        "50 of the last 51 requests failed. Most often: 40 × 400 BadRequestError: prompt # is too "
        "long; 10 × upstream_lost: The connection broke."
    )
    assert untold.message.startswith("50 of the last 51 requests failed. The batch was created")


@pytest.mark.parametrize(
    ("found", "is_told"),
    [
        (batch(49, 51), True),
        (batch(50, 50), False),
        (batch(0, 99), False),
        (batch(0, 199, before=(100, 100)), False),
        (batch(0, 100, paused_at=NOW), False),
        (batch(0, 100, status=BatchStatus.FINALIZING), False),
    ],
)
def test_what_fails_most_lines_is_told_from_a_hundred_on(found, is_told):
    """While the batch runs, whether it would pause or not; and no longer once it is forgotten."""
    failures = pause_on_failures.Failures()
    failures.note("batch_1", NoAnswer("upstream_lost", "The connection broke."))
    failures.look(batch(0, 100))

    failures.look(found)
    told, failing = failures.told(), failures.failing
    failures.forget("batch_1")

    assert told == ({"batch_1": "upstream_lost: The connection broke."} if is_told else {})
    assert failing == is_told
    assert (failures.told(), failures.failing) == ({}, 0)


def test_after_a_restart_a_failing_batch_counts_though_nothing_is_known():
    """What fails it is not known before the next line of it failed."""
    failures = pause_on_failures.Failures()
    failures.look(batch(0, 100))

    assert (failures.told(), failures.failing) == ({}, 1)


def test_memory_is_bounded_however_messages_differ():
    """Kinds beyond the first few are not told apart."""
    failures = pause_on_failures.Failures()
    for number in range(10_000):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        failures.note("batch_1", NoAnswer("x", word))

    assert len(failures._kinds["batch_1"]) == pause_on_failures._MOST_KINDS


async def test_a_batch_pauses_with_the_reason_and_goes_on_when_resumed(bench, upstream):
    """What is left is sent after the resume; it does not pause at once again."""
    upstream.script = lambda *_: error(400)
    made = await bench.submit(LINES, on_failures=OnFailures.PAUSE)
    async with bench.running(max_in_flight=8):
        await until(lambda: bench.is_paused(made))
        paused = await bench.store.get_batch(made.id)
        upstream.script = lambda *_: web.json_response(completion())
        resumed = await bench.store.resume_batch(made.id)
        ended = await bench.ended(made)

    assert paused.status is BatchStatus.IN_PROGRESS
    assert paused.counts.failed >= pause_on_failures.PAUSE_FROM
    (fault,) = paused.faults
    assert fault.code == "most_requests_failed"
    assert " × 400 " in fault.message
    assert resumed.faults is None
    assert ended.status is BatchStatus.COMPLETED
    assert ended.counts.failed < LINES
    assert ended.counts.finished == LINES


async def test_it_pauses_again_after_fifty_more(bench, upstream):
    """Counted from the resume on; in a dispatcher started anew, too."""
    upstream.script = lambda *_: error(400)
    made = await bench.submit(LINES, on_failures=OnFailures.PAUSE)
    async with bench.running(max_in_flight=8):
        await until(lambda: bench.is_paused(made))
    first = await bench.store.resume_batch(made.id)
    async with bench.running(max_in_flight=8):
        await until(lambda: bench.is_paused(made))

    second = await bench.store.get_batch(made.id)
    assert second.counts.failed - first.counts.failed >= pause_on_failures.PAUSE_FROM
    assert second.counts.finished < LINES


async def test_a_running_batch_of_which_most_lines_fail_is_reported(bench, upstream):
    """What fails them goes into the report; the metric counts the batch. Both end with it."""
    upstream.script = Refused(150)
    made = await bench.submit(300)

    async def is_told(*batch_ids):
        report = await bench.store.fleet_report()
        count = bench.metrics.registry.get_sample_value("batchline_batches_failing")
        return report is not None and [*report.failing] == [*batch_ids] and count == len(batch_ids)

    async with bench.running(max_in_flight=8, probe_interval_s=0.01):
        await until(lambda: is_told(made.id))
        report = await bench.store.fleet_report()
        upstream.script.many = 300
        await bench.ended(made)
        await until(is_told)

    assert report.failing[made.id].startswith("400 ")


class Refused(Share):
    """Every line of the share is refused."""

    def answer(self, number, body):
        return error(400)


async def test_without_it_a_batch_goes_on_to_its_end(bench, upstream):
    """As at OpenAI."""
    upstream.script = lambda *_: error(400)
    made = await bench.submit(200)
    async with bench.running(max_in_flight=8):
        ended = await bench.ended(made)

    assert (ended.status, ended.counts.failed) == (BatchStatus.COMPLETED, 200)


@pytest.mark.parametrize("lines", [60, 200])
async def test_a_reason_to_pause_is_no_error_of_a_batch_that_has_ended(bench, upstream, lines):
    """What was in flight may end it while it is paused; else it is cancelled here."""
    upstream.script = lambda body, attempt: error(400)
    batch = await bench.submit(lines, on_failures=OnFailures.PAUSE)
    async with bench.running(max_in_flight=64):

        async def has_stopped():
            found = await bench.store.get_batch(batch.id)
            return found.paused_at is not None or found.status is not BatchStatus.IN_PROGRESS

        await until(has_stopped)
        await bench.store.cancel_batch(batch.id, now=NOW)
        ended = await bench.ended(batch)

    assert (ended.paused_at, ended.faults) == (None, None)
