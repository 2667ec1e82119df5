"""A sick server beside a well one takes few lines, fails none, and idles nobody: however it is sick."""

from __future__ import annotations

import pytest
from sickbed import FEW, LINES, lines, sends, sick, well

from benchmarks import sickness

FORMS = (*sickness.FORMS, *sickness.OTHERS)


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
async def test_all_lines_are_answered_beside_a_sick_server(bench, fleet, form):
    """It answers at once, and would be the idlest of both: it gets few lines all the same."""
    fleet.sick.script = sick(form)
    fleet.well.script = well(form.endpoint)
    if form.bars_models:
        fleet.sick.models = form.status
    batch = await bench.submit(lines(endpoint=form.endpoint), endpoint=form.endpoint)
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    await bench.results(ended)
    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
    assert sends(fleet.sick) <= FEW
