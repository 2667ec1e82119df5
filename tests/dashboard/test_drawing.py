"""Shapes do not lie: from zero, gaps as gaps, nothing vanishes."""

from __future__ import annotations

import pytest

from dashboard import drawing


def test_a_curve_starts_from_zero_and_fits_its_box():
    """Half the top value is drawn at half height."""
    drawn = drawing.curve([0.0, 5.0, 10.0], top=10.0)

    assert drawn.line == "M0.0 100.0L50.0 50.0L100.0 0.0"
    assert drawn.area == "M0.0 100.0L50.0 50.0L100.0 0.0L100.0 100L0.0 100Z"


def test_unknown_values_are_gaps():
    """A hole in the data is a hole in the line, never a zero."""
    assert drawing.curve([1.0, 1.0, None, 1.0, 1.0], top=2.0).line.count("M") == 2
    assert drawing.curve([None, None]) == drawing.Curve("", "")


def test_a_dozen_failed_of_a_million_is_seen():
    """Failed and in-flight parts have a least width."""
    drawn = drawing.bar(completed=634_106, failed=12, flying=5, total=1_000_000)

    assert drawn.failed >= 1
    assert drawn.flying >= 0.5
    assert drawn.done == 63.41
    assert drawn.failed_from == drawn.done


@pytest.mark.parametrize(
    "parts",
    [
        {"completed": 999_999, "failed": 1, "flying": 0, "total": 1_000_000},
        {"completed": 999_990, "failed": 5, "flying": 400, "total": 1_000_000},
        {"completed": 0, "failed": 3, "flying": 0, "total": 3},
    ],
)
def test_the_parts_never_exceed_the_bar(parts):
    """The least widths are taken from the done part."""
    drawn = drawing.bar(**parts)

    assert drawn.flying_from + drawn.flying <= 100.01
    assert drawn.done >= 0


def test_a_batch_without_lines_has_an_empty_bar():
    """Before validation nothing is drawn."""
    assert drawing.bar(completed=0, failed=0, flying=0, total=0) == drawing.Bar(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("peak", "top"), [(0, 3), (20_000, 24_000), (41.6, 60), (0.5, 0.6), (9, 9), (30_000, 30_000)]
)
def test_the_axis_ends_on_a_round_number(peak, top):
    """Three equal steps, each a round number, reach above the peak."""
    assert drawing.axis_top([None, float(peak)]) == pytest.approx(top)
