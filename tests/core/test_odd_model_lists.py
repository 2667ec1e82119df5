"""Which servers serve something else than most."""

from __future__ import annotations

import pytest

from batchline.odd_model_lists import odd_lists

CASES = {
    "all alike": ({"a": "m", "b": "m"}, []),
    "one of three": ({"a": "m", "b": "n", "c": "m"}, ["b"]),
    "nobody knows which of two": ({"a": "m", "b": "n"}, []),
    "two models, half each": ({"a": "m", "b": "m", "c": "n", "d": "n"}, []),
    "who says nothing does not count": ({"a": "m", "b": "", "c": "m", "d": "n"}, ["d"]),
    "one more adapter": ({"a": "mx", "b": "m", "c": "m"}, ["a"]),
    "nobody": ({}, []),
}


@pytest.mark.parametrize(("models", "odd"), CASES.values(), ids=CASES)
def test_outliers_differ_from_more_than_half(models, odd):
    """Only a majority makes the others odd."""
    assert odd_lists({name: set(listed) for name, listed in models.items()}) == odd
