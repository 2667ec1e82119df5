"""A fleet of one sick server: lines wait, it is said why, and when it is mended all are answered."""

from __future__ import annotations

import pytest
from sickbed import FEW, LINES, lines, sends, sick, until_said, well
from waiting import until

from benchmarks import sickness

TELLING = [form for form in (*sickness.FORMS, *sickness.OTHERS) if form.reason]
FULL = [form for form in (*sickness.FORMS, *sickness.OTHERS) if not form.reason]
_OFTEN = 20
"""More than were in flight at first: some of them for the second time."""


@pytest.mark.parametrize("form", TELLING, ids=[form.name for form in TELLING])
async def test_lines_wait_for_a_sick_server_to_be_mended(bench, upstream, form):
    """The reason is told while they wait; with a single try each, none is spent on finding out."""
    upstream.script = sick(form)
    if form.bars_models:
        upstream.models = form.status
    batch = await bench.submit(lines(endpoint=form.endpoint), endpoint=form.endpoint)
    async with bench.running(max_attempts=1):
        await until_said(bench, form.reason)
        spent = sends(upstream)
        upstream.script, upstream.models = well(form.endpoint), ["m"]
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
    assert spent <= FEW
    assert {canary.path for canary in upstream.canaries} <= {form.endpoint}


@pytest.mark.parametrize("form", FULL, ids=[form.name for form in FULL])
async def test_lines_wait_for_a_full_server_and_cost_nothing(bench, upstream, form):
    """However often they are refused: with a single attempt each, all are answered at last."""
    upstream.script = sick(form)
    batch = await bench.submit(lines())
    async with bench.running(max_attempts=1):
        await until(lambda: sends(upstream) >= _OFTEN)
        upstream.script = well()
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
