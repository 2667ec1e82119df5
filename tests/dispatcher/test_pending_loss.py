"""Writes whose end is not known: the process that made them finds out and goes on."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web
from scripted import completion
from waiting import until

from batchline.process.failpoints import arm
from batchline.states import BatchStatus


@pytest.fixture(autouse=True)
def disarmed():
    yield
    arm("")


async def test_results_reported_as_not_stored_though_they_are_do_no_harm(bench, upstream, caplog):
    """The dispatcher offers them again in place, with those of a slice half done; none counts twice."""

    async def some_later(body, attempt):
        if int(body["tag"][1:]) >= 10:
            await upstream.release.wait()
        return web.json_response(completion())

    caplog.set_level(logging.INFO)
    upstream.script = some_later
    made = await bench.submit(100)
    arm("settle.committed=error@1")

    async with bench.running():
        await until(lambda: "dispatch goes on" in caplog.text)
        upstream.release.set()
        ended = await bench.ended(made)

    assert ended.status is BatchStatus.COMPLETED
    assert (ended.counts.completed, ended.usage.output_tokens) == (100, 300)
    assert len((await bench.results(ended))[0]) == 100
    assert set(upstream.seen.values()) == {1}


async def test_bytes_of_results_are_written_once_however_often_their_rows_fail(bench, upstream):
    """A database that refuses for a while does not fill the disk with copies."""
    made = await bench.submit(20)
    arm("settle.rows=error@1")

    async with bench.running():
        ended = await bench.ended(made)
        segments = await bench.store.segments(ended)

    assert ended.status is BatchStatus.COMPLETED
    refs = [segment.ref for segment in segments]
    assert sum(ref.length_bytes for ref in refs) == max(
        ref.offset_bytes + ref.length_bytes for ref in refs
    )


@pytest.mark.parametrize("point", ["claim.leased", "claim.read"])
async def test_slices_of_a_claim_that_broke_off_are_found_again(bench, upstream, point):
    """They do not wait for their lease of ten minutes; none is sent twice."""
    made = await bench.submit(200)
    arm(f"{point}=error@1")

    async with bench.running(lease_s=600):
        ended = await bench.ended(made)

    assert ended.status is BatchStatus.COMPLETED
    assert set(upstream.seen.values()) == {1}
