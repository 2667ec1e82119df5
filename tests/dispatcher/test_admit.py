"""Admission through a running dispatcher: what the fleet serves, cancels, many batches at once."""

from __future__ import annotations

import asyncio
import json

import pytest
from inputs import line, requests
from waiting import until

from batchline.jsonl.body_rules import NO_RULES
from batchline.jsonl.input_file import Limits
from batchline.states import BatchStatus
from dispatcher.batches.admit import Admission


def naming(*models):
    """Lines that name these models, in turn."""
    return b"\n".join(line(body={"model": m, "messages": [], "tag": m}) for m in models)


@pytest.mark.spec("5.1-model-not-found", "5.1-nothing-runs")
async def test_a_model_that_the_live_fleet_lacks_is_refused(bench, upstream):
    """Each of its lines is named; nothing is sent."""
    batch = await bench.submit(naming("m", "x", "m", "x"))
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.status is BatchStatus.FAILED
    assert [(f.line, f.code, f.param) for f in ended.faults] == [
        (2, "model_not_found", "body.model"),
        (4, "model_not_found", "body.model"),
    ]
    assert ended.counts.total == 0
    assert not upstream.seen


@pytest.mark.spec("5-mixed-models")
async def test_several_served_models_may_be_mixed(bench, upstream):
    """Served names, aliases and adapters are all listed by the server."""
    upstream.models = ["m", "alias", "adapter"]
    batch = await bench.submit(naming("m", "alias", "adapter"))
    async with bench.running():
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)
    assert ended.model is None


@pytest.mark.spec("5.1-mismatched-model", "beyond-one-model")
async def test_one_model_per_batch_is_a_setting(bench, upstream):
    """The same file fails where one model is demanded."""
    upstream.models = ["m", "n"]
    batch = await bench.submit(naming("m", "n"))
    async with bench.running(one_model_per_batch=True):
        ended = await bench.ended(batch)

    assert [(f.line, f.code) for f in ended.faults] == [(2, "mismatched_model")]


async def test_an_adapter_loaded_just_now_is_known(bench, upstream):
    """Admission asks the servers anew instead of trusting an older look."""
    async with bench.running():
        await bench.ended(await bench.submit(naming("m")))
        upstream.models = ["m", "adapter"]
        ended = await bench.ended(await bench.submit(naming("adapter")))
        while ended.status is BatchStatus.FAILED:  # within the second that answers are shared
            ended = await bench.ended(await bench.submit(naming("adapter")))

    assert ended.status is BatchStatus.COMPLETED


@pytest.mark.parametrize("models", [None, []], ids=["no such route", "empty list"])
async def test_a_server_that_lists_no_models_refuses_none(bench, upstream, models):
    """What is not listed cannot be judged; the line is tried."""
    upstream.models = models
    batch = await bench.submit(naming("anything"))
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1


async def test_servers_that_serve_more_than_they_list_can_be_trusted(bench, upstream):
    """A setting for routers with wildcards and adapters loaded on demand."""
    batch = await bench.submit(naming("unlisted"))
    async with bench.running(refuse_unknown_models=False):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1


async def test_while_the_fleet_is_down_no_model_is_refused(bench, upstream):
    """The batch is accepted and waits."""
    upstream.health = 503
    batch = await bench.submit(naming("loads-later"))
    async with bench.running():

        async def accepted():
            return (await bench.store.get_batch(batch.id)).status is BatchStatus.IN_PROGRESS

        await until(accepted)
        upstream.models = ["loads-later"]
        upstream.health = 200
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1


@pytest.mark.spec("5.1-too-many")
async def test_a_batch_over_the_limit_names_it(bench, upstream):
    """The limit is in the message; the rest of the file is not read."""
    batch = await bench.submit(requests(20) + b"nonsense\n")
    async with bench.running(max_lines=10):
        ended = await bench.ended(batch)

    assert [f.code for f in ended.faults] == ["too_many_tasks"]
    assert "more than 10 requests" in ended.faults[0].message


@pytest.mark.spec("5.1-cap")
async def test_the_number_of_listed_faults_is_a_setting(bench, upstream):
    """Twelve faults, five listed, seven counted."""
    batch = await bench.submit(b"x\n" * 12)
    async with bench.running(max_faults=5):
        ended = await bench.ended(batch)

    assert [f.line for f in ended.faults] == [1, 2, 3, 4, 5, None]
    assert ended.faults[-1].message.startswith("7 more faults")


@pytest.mark.spec("3.5-cancelled-validating")
async def test_a_cancel_before_or_during_admission_ends_with_nothing_done(bench, upstream, clock):
    """Cancelled before anyone looked, and while its lines are read: total 0, no files."""
    early, late = await bench.submit(3), await bench.submit(300)

    async def served():
        shown = await bench.store.cancel_batch(late.id, now=late.created_at + 1)
        assert shown.status is BatchStatus.CANCELLING

    limits = Limits(lines=1000, line_bytes=10_000, faults=50)
    admission = Admission(
        bench.store,
        bench.blobs,
        limits=limits,
        one_model=False,
        body=NO_RULES,
        served=served,
        clock=clock,
    )
    await admission.admit(late)
    await bench.store.cancel_batch(early.id, now=early.created_at + 1)
    async with bench.running():
        ends = [await bench.ended(batch) for batch in (early, late)]

    for end in ends:
        assert end.status is BatchStatus.CANCELLED
        assert (end.counts.total, end.output_file_id, end.error_file_id) == (0, None, None)
        assert (end.in_progress_at, end.cancelling_at) == (None, end.created_at + 1)
    assert not upstream.seen


async def test_many_batches_that_arrive_together_are_all_admitted(bench, upstream):
    """Forty at once, good and bad ones, each to its own end."""
    batches = [
        await bench.submit(json.dumps({"bad": n}) if n % 4 == 0 else naming("m")) for n in range(40)
    ]
    async with bench.running():
        ends = await asyncio.gather(*(bench.ended(batch) for batch in batches))

    wanted = [BatchStatus.COMPLETED, BatchStatus.FAILED]
    assert [e.status for e in ends] == [wanted[n % 4 == 0] for n in range(40)]
