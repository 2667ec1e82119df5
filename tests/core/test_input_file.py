"""Checking input files: every fault by line and code, slices that cover every request."""

from __future__ import annotations

import pytest
from inputs import BROKEN, ENDPOINT, body, line

from batchline.input_file import SLICE_LINES, DuplicateCheck, FileCheck, Limits
from batchline.lines import decode_requests

LIMITS = Limits(lines=1000, line_bytes=10_000, faults=50)


def check(data, *, limits=LIMITS, chunk_bytes=1 << 20, endpoint=ENDPOINT):
    whole = FileCheck(1, endpoint, limits)
    slices = []
    chunks = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
    for chunk in chunks:
        slices += whole.feed(chunk)
    slices += whole.finish()
    second = DuplicateCheck(whole.suspects, limits)
    for chunk in chunks:
        second.feed(chunk)
    second.feed(b"", last=True)
    return whole.report(second.faults), slices


@pytest.mark.spec(
    "3.1-error-line",
    "5.1-json",
    "5.1-missing",
    "5.1-missing-model",
    "5.1-missing-messages",
    "5.1-url",
    "5.1-stream",
    "5.1-method",
    "5.1-types",
    "5.1-strict-json",
    "5-url-exact",
)
@pytest.mark.parametrize(("bad", "code", "param"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 7])
def test_each_fault_is_named_by_line_code_and_parameter(bad, code, param, chunk_bytes):
    """The fault is on line 3: a good line and a blank one come first."""
    if b"\n" in bad:
        bad = bad.replace(b"\n", b" ")
    data = line(custom_id="good") + b"\n\n" + bad + b"\n" + line(custom_id="last")

    report, _ = check(data, chunk_bytes=chunk_bytes)

    assert [(f.line, f.code, f.param) for f in report.faults] == [(3, code, param)]
    assert report.faults[0].message


@pytest.mark.spec("5.1-all-in-order")
def test_all_faults_are_listed_in_line_order():
    """Every kind in one file, each with its own line."""
    lines = [bad.replace(b"\n", b" ") for bad, _, _ in BROKEN.values()]

    report, _ = check(b"\n".join(lines))

    assert [(f.line, f.code) for f in report.faults] == [
        (number, code) for number, (_, code, _) in enumerate(BROKEN.values(), 1)
    ]


@pytest.mark.spec("5.1-duplicate")
def test_duplicates_name_the_second_line():
    """The first use of an id is not a fault."""
    report, _ = check(b"\n".join(line(custom_id=c) for c in ["a", "b", "a", "c", "a"]))

    assert [(f.line, f.code) for f in report.faults] == [
        (3, "duplicate_custom_id"),
        (5, "duplicate_custom_id"),
    ]
    assert "'a'" in report.faults[0].message


def test_equal_hashes_of_different_ids_are_no_duplicates():
    """The second pass compares the ids themselves."""
    second = DuplicateCheck({hash("a"), hash("b")}, LIMITS)
    second.feed(line(custom_id="a") + b"\n" + line(custom_id="b") + b"\n")
    second.feed(b"", last=True)

    assert second.faults == []


@pytest.mark.spec("5-custom-id-any")
def test_ids_are_compared_byte_for_byte():
    """No trimming, no Unicode normalisation."""
    report, _ = check(b"\n".join(line(custom_id=c) for c in ["a", " a", "é", "e\u0301", "A"]))

    assert (report.total, report.faults) == (5, ())


@pytest.mark.spec("5.1-cap")
def test_faults_beyond_the_cap_are_counted():
    """The list says how many more there are."""
    report, _ = check(b"x\n" * 60)

    assert len(report.faults) == 51
    assert (report.faults[-1].code, report.faults[-1].message[:2]) == ("too_many_errors", "10")


@pytest.mark.parametrize(
    "data", [b"", b"\n\n \r\n", b"\xef\xbb\xbf"], ids=["empty", "blank", "bom"]
)
def test_a_file_without_requests_is_a_fault(data):
    """Nothing to do is said, not run."""
    report, _ = check(data)

    assert report.faults[0].code in {"empty_file", "invalid_json_line"}


@pytest.mark.spec("5.1-too-many")
def test_too_many_lines_is_a_fault_that_names_the_limit():
    """The limit is in the message."""
    report, _ = check(
        b"\n".join(line(custom_id=str(i)) for i in range(6)), limits=Limits(5, 10_000, 50)
    )

    assert report.faults[-1].code == "too_many_tasks"
    assert "5" in report.faults[-1].message


@pytest.mark.spec("5-no-final-newline", "5-crlf", "5-bom", "5-blank-lines")
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_slices_cover_every_request_whatever_the_line_ends(ending, final):
    """BOM, blank lines, CRLF, a missing last newline: decoding the slices gives all requests."""
    lines = [line(custom_id=str(i)) for i in range(SLICE_LINES * 2 + 5)]
    lines.insert(70, b"")
    data = b"\xef\xbb\xbf" + ending.join(lines) + (ending if final else b"")

    report, slices = check(data, chunk_bytes=997)

    assert report.total == SLICE_LINES * 2 + 5
    assert [s.first for s in slices] == [0, 64, 128]
    found = [
        [
            r.custom_id
            for r in decode_requests(data[s.offset_bytes : s.offset_bytes + s.length_bytes])
        ]
        for s in slices
    ]
    assert [len(f) for f in found] == [s.count for s in slices]
    assert [c for f in found for c in f] == [str(i) for i in range(SLICE_LINES * 2 + 5)]


@pytest.mark.spec("5-mixed-models")
def test_one_model_is_named_and_several_are_not():
    """The batch object shows a model only where all lines share it."""
    same, _ = check(line(custom_id="a") + b"\n" + line(custom_id="b"))
    mixed, _ = check(line(custom_id="a") + b"\n" + line(custom_id="b", body=body(model="n")))

    assert (same.model, mixed.model, mixed.faults) == ("m", None, ())


@pytest.mark.spec("5-stream-false")
def test_explicit_nulls_and_stream_false_pass():
    """Clients send them."""
    report, _ = check(
        line(body=body(stream=False, stop=None))
        + b"\n"
        + line(custom_id="b", body=body(stream=None))
    )

    assert report.faults == ()


@pytest.mark.spec("5.1-long-line")
def test_a_line_of_many_megabytes_is_refused_without_being_kept():
    """Memory stays at the limit while the long line passes."""
    whole = FileCheck(1, ENDPOINT, LIMITS)
    for _ in range(50):
        whole.feed(b"y" * 100_000)
        assert len(whole._tail) <= LIMITS.line_bytes + 100_001
    whole.feed(b"\n" + line() + b"\n")
    whole.finish()

    report = whole.report()
    assert [(f.line, f.code) for f in report.faults] == [(1, "invalid_request")]
    assert report.total == 1
