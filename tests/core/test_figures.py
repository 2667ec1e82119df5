"""Figures read the same on the page and in the terminal."""

from __future__ import annotations

import pytest

from batchline import figures


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (999, "999"),
        (634_118, "634,118"),
        (9_999_999, "9,999,999"),
        (12_345_678, "12.3 M"),
        (None, "–"),
    ],
)
def test_counts_are_grouped_up_to_ten_million(n, text):
    """Thousands take a comma; from ten million on the number is shortened; missing is a dash."""
    assert figures.count(n) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 100, "0.0 %"),
        (1, 1_000_000, "< 0.1 %"),
        (634_118, 1_000_000, "63.4 %"),
        (999_999, 1_000_000, "99.9 %"),
        (1_000_000, 1_000_000, "100 %"),
        (0, 0, "–"),
    ],
)
def test_percent_never_says_100_before_the_end(done, total, text):
    """Percent is rounded down."""
    assert figures.percent(done, total) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 100, "0 %"),
        (1, 1_000_000, "< 0.01 %"),
        (312, 634_118, "0.05 %"),
        (6, 1000, "0.60 %"),
        (81, 1000, "8.1 %"),
        (511, 630, "81.1 %"),
        (99_999, 100_000, "99.9 %"),
        (5, 5, "100 %"),
        (1, 0, "–"),
    ],
)
def test_a_share_that_is_not_zero_never_reads_as_zero(part, whole, text):
    """Small shares keep two decimals, then become `< 0.01 %`."""
    assert figures.share(part, whole) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.004, "< 0.01"),
        (0.04, "0.04"),
        (9.1, "9.1"),
        (29.93, "29.9"),
        (99.96, "100.0"),
        (1240.4, "1,240"),
        (2660, "2,660"),
        (18_640, "18.6 k"),
        (1_250_000, "1.2 M"),
    ],
)
def test_rates_keep_two_or_three_digits(per_s, text):
    """A rate is short, and a slow one is still visible."""
    assert figures.rate(per_s) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (41.9, "41 s"),
        (60, "1 m"),
        (59 * 60 + 59, "59 m"),
        (3600, "1 h"),
        (10_200, "2 h 50 m"),
        (21_780, "6 h 03 m"),
        (86400, "1 d"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"),
        (-3, "0 s"),
    ],
)
def test_durations_have_at_most_two_units(seconds, text):
    """A duration is read at a glance."""
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (812, "812 B"),
        (999_600, "1.0 MB"),
        (1_400_000_000, "1.4 GB"),
        (583_000_000_000, "583 GB"),
        (1_400_000_000_000, "1.4 TB"),
    ],
)
def test_sizes_are_decimal(n_bytes, text):
    """Storage is written in powers of 1000, as disks are sold."""
    assert figures.size(n_bytes) == text
