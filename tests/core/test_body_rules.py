"""What a request may not ask of an engine: which values break a rule, however they are written."""

from __future__ import annotations

import json

import msgspec
import pytest

from batchline.jsonl.body_rules import NO_RULES, BodyRules
from batchline.jsonl.input_file import FileCheck, Limits
from batchline.jsonl.line_check import Rules, good_decoder

ENDPOINT = "/v1/chat/completions"
RULES = BodyRules(refused=("chat_template", "mm_processor_kwargs"), highest=(("n", 128),))
LIMITS = Limits(lines=1000, line_bytes=1 << 20, faults=50)


def codes(body, rules=RULES):
    return [fault.code for fault in rules.faults(body)]


@pytest.mark.parametrize(
    "value",
    [
        "129", "129.0", "1.29e2", "1e999", "9" * 300, "9" * 5000, '"129"', '" 129 "', '"1e3"', '"inf"',
        '"1_000"', '"' + " " * 600 + '129"', "[" + "1," * 300 + "1]",
    ],
    ids=lambda value: value[:10],
)  # fmt: skip
def test_a_number_is_above_however_it_is_written(value):
    """Texts count, since servers read them as numbers; what is too long to be a sensible number, too."""
    assert codes(b'{"n": %b}' % value.encode()) == ["integer_above_max_value"]


@pytest.mark.parametrize(
    "value",
    ["128", "128.0", "-5", "0", "null", "true", '"128"', '"many"', "[200]", '{"n": 200}', '"nan"'],
)
def test_whatever_else_is_the_servers_to_judge(value):
    """Types and lower bounds are not ours."""
    assert codes(b'{"n": %b}' % value.encode()) == []


@pytest.mark.parametrize(
    ("value", "is_refused"), [("null", False), ('""', True), ("{}", True), ("0", True)]
)
def test_a_refused_field_may_be_null_alone(value, is_refused):
    """Null is how some clients leave a field out."""
    assert (
        codes(b'{"chat_template": %b}' % value.encode()) == ["unsupported_parameter"] * is_refused
    )


def test_the_fault_names_field_value_and_setting():
    """So that the client knows what to send, and the operator what to change."""
    template, many = RULES.faults(b'{"n": 4000, "chat_template": "x"}', prefix="body.")

    assert (template.param, many.param) == ("body.chat_template", "body.n")
    assert "BATCHLINE_REFUSED_FIELDS" in template.message
    assert "<= 128, but got 4000" in many.message
    assert "BATCHLINE_HIGHEST_VALUES" in many.message


def test_names_that_are_escaped_are_the_same_names():
    """As for every decoder of JSON."""
    assert codes(b'{"\\u006e": 129, "chat\\u005ftemplate": 1}') == [
        "unsupported_parameter",
        "integer_above_max_value",
    ]


@pytest.mark.parametrize("body", [b"[1]", b"{", b"1", b"\xff", '{"n": 1}'.encode("utf-16")])
def test_what_is_no_object_is_not_taken_for_good(body):
    """The caller says what is to become of it."""
    with pytest.raises(msgspec.DecodeError):
        codes(body)


def test_without_rules_nothing_breaks_one():
    """Both lists may be empty."""
    assert codes(b'{"n": 999, "chat_template": 1}', NO_RULES) == []


def line(**fields):
    body = {"model": "m", "messages": []} | fields
    return json.dumps({"custom_id": "1", "method": "POST", "url": ENDPOINT, "body": body}).encode()


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"n": 129}, ["body.n"]),
        ({"n": "129"}, ["body.n"]),
        ({"n": 5000, "chat_template": "x"}, ["body.chat_template", "body.n"]),
        ({"n": 128, "chat_template": None}, []),
        ({"n": 4.0, "metadata": {"chat_template": "x"}}, []),
    ],
)
def test_admission_applies_them_to_each_line(fields, params):
    """The fault bears the line's number."""
    check = FileCheck(1, Rules(ENDPOINT, body=RULES), LIMITS)
    check.feed(line(**fields) + b"\n")
    check.finish()

    faults = check.report().faults

    assert [(fault.line, fault.param) for fault in faults] == [(1, param) for param in params]


def test_lines_that_keep_the_rules_are_decoded_in_one_go():
    """What is slow is only looked at where something is wrong."""
    decode = good_decoder(ENDPOINT, RULES)

    assert decode(line(n=128, chat_template=None, top_k=3)).body.model == "m"
