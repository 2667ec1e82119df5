"""Hundreds of generated input files: the real check says what a slow, plain one says."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from grammar import ENDPOINT, input_files
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from oracle import judge

from batchline.jsonl.input_file import SLICE_LINES, DuplicateCheck, FileCheck, Limits
from batchline.jsonl.line_check import Rules
from batchline.jsonl.request_lines import decode_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FILES = 400
LIMITS = Limits(lines=10_000, line_bytes=9_000, faults=100_000)
RULES = st.sampled_from(
    [
        {},
        {},
        {"one_model": True},
        {"served": frozenset({"m"})},
        {"served": frozenset({"m", "n"}), "one_model": True},
    ]
)
CHUNKS = st.sampled_from([1 << 20, 1 << 20, 4096, 64, 7])


def checked(data, chunk_bytes, **rules):
    """Run the real check as admission does."""
    rules = Rules(ENDPOINT, **rules)
    check = FileCheck(1, rules, LIMITS)
    chunks = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
    slices = [s for chunk in chunks for s in check.feed(chunk)] + check.finish()
    second = DuplicateCheck(check.shared_marks(), rules, LIMITS)
    for chunk in chunks:
        second.feed(chunk)
    second.feed(b"", last=True)
    return check.report(second.faults), slices


def test_every_generated_file_is_judged_as_the_slow_way_does():
    """Same verdict, same faults on the same lines; slices that hold exactly the requests."""
    kinds = Counter()

    @settings(
        max_examples=FILES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(input_files(), CHUNKS, RULES)
    @example(b"", 7, {})
    @example(b"\xef\xbb\xbf", 1, {})
    @example(b"\n" * 100, 7, {})
    def compare(data, chunk_bytes, rules):
        wanted = judge(data, endpoint=ENDPOINT, line_bytes=LIMITS.line_bytes, **rules)
        report, slices = checked(data, chunk_bytes, **rules)

        assert [(f.line, f.code, f.param) for f in report.faults] == wanted.faults
        assert report.total == wanted.total
        assert all(f.message for f in report.faults)
        kinds["files"] += 1
        kinds.update({f.code for f in wanted.faults} or {"good"})
        if not wanted.faults:
            assert report.model == wanted.model
            check_slices(data, slices, wanted.requests)

    compare()

    assert kinds["files"] >= FILES
    assert kinds["good"] >= FILES / 20, kinds
    assert len(kinds) >= 12, kinds


def check_slices(data, slices, wanted):
    """Each request is in one slice, in order, with its own bytes."""
    first, end, found = 0, 0, []
    for piece in slices:
        assert piece.first == first
        assert piece.offset_bytes >= end
        assert 0 < piece.count <= SLICE_LINES
        first, end = first + piece.count, piece.offset_bytes + piece.length_bytes
        requests = decode_requests(data[piece.offset_bytes : end])
        assert len(requests) == piece.count
        found += requests
    assert first == len(wanted)
    for got, request in zip(found, wanted, strict=True):
        assert got.custom_id == request.custom_id
        assert bytes(got.body) == request.body
        json.loads(request.body, parse_int=str)
