"""Results as handlers get them: decoded whatever a model wrote, and handed out in chunks."""

from __future__ import annotations

import math

import pytest

from batchline.handlers import Result, Results
from batchline.jsonl.result_lines import answer_record


def result_of(body, index=0, request=None):
    raw = answer_record("batch_req_x", f"c{index}", status=200, upstream_id="u", body=body)
    return Result(index, raw, request)


def results_of(*results):
    async def pieces():
        yield results

    return Results(pieces())


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (rb'"a \ud83d\ude00 \ud800 \u0000"', "a 😀 � \0"),
        (b"1e999", math.inf),
        (b"9" * 30, 10**30 - 1),
        (b"9" * 5000, math.inf),
    ],
    ids=["half a pair", "too large", "long", "too long"],
)
def test_a_result_is_decoded_whatever_a_model_wrote(written, found):
    """Result files hold answers as they came, also what decoders refuse."""
    line = b'{"x": ' + written + b"}"

    result = result_of(line, request=b'{"body": ' + line + b"}")

    assert result.custom_id == "c0"
    assert result.body == result.request == {"x": found}


async def test_chunks_end_with_so_many_results_or_bytes():
    """Each result comes in one of them, a large one, too."""
    sizes = [10, 10, 10, 10, 5000, 10, 10]
    results = results_of(*[result_of(b'"%s"' % (b"a" * n), i) for i, n in enumerate(sizes)])

    chunks = [[one.index for one in chunk] async for chunk in results.chunks(3, most_bytes=1000)]

    assert chunks == [[0, 1, 2], [3, 4], [5, 6]]
    assert results.taken == len(sizes)
