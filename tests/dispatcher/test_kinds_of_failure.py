"""Failures of one kind have one signature, whatever line they come from."""

from __future__ import annotations

import json
import time

import pytest

from dispatcher.replies.kinds_of_failure import plain, signature_of, without_answer


def error(message, **fields):
    return json.dumps({"error": {"message": message, "type": "BadRequestError", **fields}}).encode()


SAME = {
    "numbers": ("at most 4096 tokens, 5000 given", "at most 8192 tokens, 9,123.5 given"),
    "backticks": ("the model `a` is unknown", "the model `b/c` is unknown"),
    "double quotes": ('no such role "x"', 'no such role "a long one"'),
    "single quotes": ("unexpected 'foo' here", "unexpected 'bar baz' here"),
    "spaces": ("a  b\n c", "a b c"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_what_differs_by_line_is_left_out(one, other):
    """Numbers, quoted parts and spacing."""
    assert signature_of(400, error(one)) == signature_of(400, error(other))


DIFFERENT = {
    "status": (signature_of(400, error("x")), signature_of(422, error("x"))),
    "message": (signature_of(400, error("too long")), signature_of(400, error("no such role"))),
    "code": (signature_of(400, error("x", code="a")), signature_of(400, error("x", code="b"))),
    "no answer": (without_answer("upstream_lost", "x"), signature_of(0, error("x"))),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_kinds_are_told_apart(one, other):
    """By status, code and message."""
    assert one != other


def test_a_flat_error_object_has_the_signature_of_a_nested_one():
    """Else all that a server refuses in that form would be one kind."""
    fields = {"message": "at most 4096 tokens", "type": "BadRequestError", "code": 400}
    flat = json.dumps({"object": "error"} | fields).encode()

    assert signature_of(400, flat) == signature_of(400, json.dumps({"error": fields}).encode())
    assert signature_of(400, flat).message == "at most # tokens"


def test_an_apostrophe_does_not_open_a_quotation():
    """What stands between two of them is part of the message."""
    assert plain("the model's context is short, the prompt's long") == (
        "the model's context is short, the prompt's long"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no</html>",
        b"[1]",
        b'{"error": "Unauthorized"}',
        b'{"detail": [{"msg": "x"}]}',
        b"\xff\xfe",
        b'{"error": {"message": {"a": 1}, "code": 7}}',
        b"[" * 100000,
    ],
)
def test_any_body_has_a_signature(body):
    """Whatever a server sends, it is one line and short."""
    found = signature_of(400, body)

    assert len(str(found)) < 400
    assert "\n" not in str(found)


@pytest.mark.parametrize("text", ["'" * 1_000_000, '"`' * 500_000, "1," * 500_000, " " * 1_000_000])
def test_hostile_messages_cost_nothing(text):
    """A megabyte takes no longer than a line: ten seconds here would be a pattern that backtracks."""
    began = time.process_time()

    plain(text)

    assert time.process_time() - began < 10


def test_it_reads_well():
    """For the dashboard and the log."""
    assert str(signature_of(400, error("at most 4096 tokens"))) == (
        "400 BadRequestError: at most # tokens"
    )
