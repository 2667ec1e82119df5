"""The handlers' file: what it may say, each fault named with its section."""

from __future__ import annotations

import pytest

from batchline.handlers.register import register_handler, take_registered
from batchline.handlers.sections import MAX_SECTIONS, read_sections


def test_a_section_says_which_handler_runs_when_and_within_what():
    text = "mine: {handler: csv, when: {status: [completed]}, limits: {seconds: 5}, folder: '${X:-/y}'}"

    (section,), faults = read_sections(text, {})

    assert faults == []
    assert (section.name, section.handler) == ("mine", "csv")
    assert section.when.status == ["completed"]
    assert section.limits.seconds == 5
    assert section.settings == {"folder": "/y"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "it must map names to settings"),
        ("s3: {secret_access_key: [hunter2", "it is not YAML: line 1, column"),
        ("'a b': {}", "a name has up to 64 letters"),
        ("csv: [1]", "its settings must be a mapping"),
        ("csv: {handler: 7}", "'handler' must be the name of a handler"),
        ("csv: {handler: 'a b'}", "'handler' must be the name of a handler"),
        ("csv: {when: {status: [gone]}}", "not 'gone'"),
        ("csv: {when: {status: []}}", "'when.status' is empty"),
        ("csv: {when: {sattus: [failed]}}", "sattus"),
        ("csv: {limits: {seconds: 0}}", "'limits' must be above 0"),
        ("csv: {limits: {memory_bytes: 0}}", "'limits' must be above 0"),
        ("csv: {folder: '${NOT_SET}'}", "NOT_SET"),
        ("\n".join(f"h{n}: {{}}" for n in range(MAX_SECTIONS + 1)), f"at most {MAX_SECTIONS}"),
    ],
)
def test_each_fault_is_named(text, says):
    _, faults = read_sections(text, {})

    assert len(faults) == 1
    assert says in faults[0]
    assert "hunter2" not in faults[0]


def test_what_is_registered_is_taken_once():
    """By decorator, a class or an object."""
    take_registered()

    @register_handler
    class Mine:
        pass

    one = register_handler(object())

    assert take_registered() == [Mine, one]
    assert take_registered() == []
