"""Splitting the JSON body of a create: whatever the pieces in which it comes, in linear time."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchline.errors import Invalid
from gateway.new_batches.request_array import SHORT_BYTES, RequestArray


class TooLarge(Exception):
    """What the caller makes of a frame that is too long."""


def split(body, *, size=None, frame_bytes=1 << 20):
    """Feed the body in pieces of `size`; return its requests and its frame."""
    array = RequestArray(frame_bytes=frame_bytes, too_large=TooLarge)
    size = size or max(1, len(body))
    found, parts = [], b""
    for start in range(0, len(body), size):
        for piece in array.feed(body[start : start + size]):
            assert piece.number == len(found)
            parts += piece.text
            if piece.ends:
                found.append(parts)
                parts = b""
    return found, array.frame()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(alphabet='a"\\[]{},: \n\u00e9\ud83d')
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    requests=st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=5),
    before=st.dictionaries(st.sampled_from(["model", "a", 'requests"']), VALUES, max_size=2),
    behind=st.dictionaries(st.sampled_from(["b", "c\\", "request"]), VALUES, max_size=2),
    indent=st.sampled_from([None, 1]),
    size=st.sampled_from([1, 2, 3, 7, 64, 1 << 20]),
)
def test_any_body_in_any_pieces_gives_its_requests_and_its_frame(
    requests, before, behind, indent, size
):
    """Decoded again they are what was sent; what lies inside strings or other fields is no mark."""
    body = json.dumps(before | {"requests": requests} | behind, indent=indent).encode()

    found, frame = split(body, size=size)

    assert json.dumps([json.loads(text) for text in found]) == json.dumps(requests)
    assert json.dumps(json.loads(frame)) == json.dumps(before | {"requests": []} | behind)


@pytest.mark.parametrize(
    "body",
    [
        b'{"input_file_id": "file-a", "metadata": {"requests": [1, 2]}}',
        b'{"requests": null}',
        b'{"requests": {"requests": [1]}}',
        b'["requests", [1]]',
        b"",
        b"not JSON",
    ],
)
def test_a_body_without_that_array_is_all_frame(body):
    """Only a field of the body itself counts, and only if it is an array."""
    assert split(body) == ([], body)
    assert split(body, size=1) == ([], body)


def test_the_name_may_be_written_with_escapes():
    """JSON allows it, and the decoder of the frame would understand it."""
    body = rb'{"\u0072equests": [{"a": 1}]}'

    assert split(body) == ([b'{"a": 1}'], rb'{"\u0072equests": []}')


def test_a_long_request_is_passed_on_in_parts():
    """Memory is that of a short one, however it comes."""
    text = json.dumps({"a": "x" * 5 * SHORT_BYTES}).encode()
    array = RequestArray(frame_bytes=100, too_large=TooLarge)

    pieces = []
    for start in range(0, len(text), 1000):
        pieces += array.feed((b'{"requests":[' if not start else b"") + text[start : start + 1000])
    pieces += array.feed(b',{"b": 2}]}')

    assert [(p.number, p.ends) for p in pieces] == [(0, False)] * 4 + [(0, True), (1, True)]
    assert max(len(p.text) for p in pieces) <= SHORT_BYTES + 1000
    assert b"".join(p.text for p in pieces[:5]) == text
    assert array.frame() == b'{"requests":[]}'


@pytest.mark.parametrize(
    ("array", "number", "said"),
    [
        (b"[{},,{}]", 1, "nothing between two commas"),
        (b"[{},]", 1, "behind the last one"),
        (b"[,{}]", 0, "nothing between two commas"),
        (b"[{}}]", 0, "a bracket that was not opened"),
    ],
)
def test_what_is_no_array_is_refused_with_the_place(array, number, said):
    """The client reads which of its requests it was."""
    with pytest.raises(Invalid) as caught:
        split(b'{"requests":' + array + b"}")

    assert said in caught.value.message
    assert caught.value.param == f"requests[{number}]"


def test_the_array_may_be_there_once():
    """A decoder would take the last one, after lines of the first were written."""
    with pytest.raises(Invalid, match="there twice"):
        split(b'{"requests": [{}], "requests": [{}]}')


def test_a_frame_that_is_too_long_is_refused_as_soon_as_it_is():
    """Requests do not count."""
    long_array = b'{"requests":[' + b'{"a":1},' * 1000 + b"{}]}"
    assert len(split(long_array, frame_bytes=50)[0]) == 1001
    with pytest.raises(TooLarge):
        split(b'{"a": "' + b"x" * 100, size=10, frame_bytes=50)


@pytest.mark.parametrize(
    "unit",
    [b"[", b"{", b'"', b"\\", b'"\\', b'\\"', b'[{"a":', b'"a",', b" ", b"[]", b'{"requests":'],
    ids=repr,
)
def test_hostile_bytes_take_linear_time(unit):
    """Four times the bytes take four times the time: no unit of a few bytes makes it quadratic."""

    def seconds(count):
        body = b'{"requests":[' + unit * count
        best = float("inf")
        for _ in range(3):
            array = RequestArray(frame_bytes=len(body), too_large=TooLarge)
            began = time.thread_time()
            try:
                for start in range(0, len(body), 4096):
                    array.feed(body[start : start + 4096])
            except Invalid:
                pass
            best = min(best, time.thread_time() - began)
        return best

    short = 100_000 // len(unit)
    assert seconds(4 * short) < 10 * seconds(short) + 0.05
