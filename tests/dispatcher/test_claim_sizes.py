"""How many slices one claim takes: about a thousand lines, however they lie in slices, and no more than fit."""

from __future__ import annotations

from batchline.model import Lease, Slice
from dispatcher.sending.claim_sizes import ClaimSizes

PLENTY = 1 << 40


def leases(*sizes):
    """Leases of slices of so many (lines, bytes)."""
    return [Lease(Slice(1, n, lines, 0, length), 1) for n, (lines, length) in enumerate(sizes)]


def slices(sizes, *, lines=10_000, free_bytes=PLENTY, is_alone=False):
    return sizes.slices(1, lines=lines, free_bytes=free_bytes, is_alone=is_alone)


def test_sixteen_slices_at_most_until_they_are_known():
    """One at least, and no more than there is room for."""
    sizes = ClaimSizes()

    assert slices(sizes) == 16
    assert [slices(sizes, lines=lines) for lines in (1, 64, 200)] == [1, 1, 3]


def test_of_slices_of_few_lines_more_are_taken():
    """As appends of one request make them: else each claim would bring sixteen lines."""
    sizes = ClaimSizes()
    sizes.note(1, leases((1, 200), (1, 200), (2, 300)))

    assert (sizes.lines(1), slices(sizes), slices(sizes, lines=100)) == (2, 512, 50)


def test_of_slices_of_few_long_lines_not():
    """They would be claimed to be given back."""
    sizes = ClaimSizes()
    sizes.note(1, leases((1, 200), (1, 100_000)))

    assert slices(sizes) == 16


def test_what_was_claimed_last_counts():
    """Full slices, or none at all."""
    sizes = ClaimSizes()
    sizes.note(1, leases((1, 200)))
    sizes.note(1, [])
    assert sizes.lines(1) == 1

    sizes.note(1, leases((64, 200)))
    assert sizes.lines(1) == 64


def test_long_slices_are_taken_as_far_as_they_fit():
    """One that does not fit waits, unless nothing else is on its way."""
    sizes = ClaimSizes()
    sizes.note_length(1, 4 << 20, does_fit=True)

    assert slices(sizes, free_bytes=9 << 20) == 2
    assert slices(sizes, free_bytes=1 << 20) == 0
    assert slices(sizes, free_bytes=1 << 20, is_alone=True) == 1


def test_a_short_slice_that_did_not_fit_is_remembered():
    """It is not claimed again before there is room."""
    sizes = ClaimSizes()
    sizes.note_length(1, 5000, does_fit=True)
    assert sizes.bytes(1) == 1

    sizes.note_length(1, 5000, does_fit=False)
    assert slices(sizes, free_bytes=4000) == 0

    sizes.forget(1)
    assert slices(sizes, free_bytes=4000) == 16
