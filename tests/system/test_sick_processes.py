"""A sick server beside a well one, with real processes all the way: what `benchmarks/sick.py` measures, in small."""

from __future__ import annotations

import pytest

from benchmarks.sick import run
from benchmarks.sickness import CHAT, EMBEDDINGS, RESPONSES

LINES = 300
FORMS = (
    ("401", CHAT),
    ("200 {}", CHAT),
    ("response cancelled", RESPONSES),
    ("embeddings NaN", EMBEDDINGS),
)


@pytest.mark.parametrize(("form", "endpoint"), FORMS)
def test_no_line_fails_and_few_are_sent_to_the_sick_server(form, endpoint):
    """Its nginx, its gateway and its dispatcher are those that an operator runs."""
    found = run(LINES, endpoint, form, "")

    assert (found.completed, found.failed) == (LINES, 0)
    assert 0 < found.refused < LINES / 2
