"""What the row of an ended batch must say about its counts and files."""

from __future__ import annotations

import pytest

from batchline.fsck.published import check_ending
from batchline.model import Batch, Counts
from batchline.states import BatchStatus

COMPLETED, FAILED, CANCELLED = BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED


def found(status, counts, *, output=None, error=None):
    batch = Batch(
        *(1, "batch_1", status, "/v1/x", "f", "k", "24h", 0, 1),
        counts=Counts(*counts),
        output_file_id=output,
        error_file_id=error,
    )
    return [damage.what for damage in check_ending(batch)]


@pytest.mark.parametrize(
    ("status", "counts", "files"),
    [
        (COMPLETED, (3, 3, 0), {"output": "o"}),
        (COMPLETED, (3, 0, 3), {"error": "e"}),
        (COMPLETED, (3, 2, 1), {"output": "o", "error": "e"}),
        (CANCELLED, (3, 1, 0), {"output": "o", "error": "e"}),
        (CANCELLED, (0, 0, 0), {}),
        (FAILED, (3, 2, 0), {}),
    ],
)
def test_what_fits_together_is_sound(status, counts, files):
    assert found(status, counts, **files) == []


@pytest.mark.parametrize(
    ("status", "counts", "files", "says"),
    [
        (COMPLETED, (3, 2, 0), {"output": "o", "error": "e"}, "completed with 2 of 3 lines"),
        (COMPLETED, (3, 3, 0), {}, "never got an output file for 3 lines"),
        (COMPLETED, (3, 3, 0), {"output": "o", "error": "e"}, "names an error file for 0 lines"),
        (CANCELLED, (3, 1, 0), {"output": "o"}, "never got an error file for 2 lines"),
    ],
)
def test_what_does_not_is_named(status, counts, files, says):
    (text,) = found(status, counts, **files)

    assert says in text
