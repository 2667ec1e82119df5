"""A small YAML text within bounds: what it holds, and what is refused whatever it would cost."""

from __future__ import annotations

import pytest

from batchline.config.bounded_yaml import MOST_BYTES, read_yaml

BOMB = b"a: &a [x, x]\n" + b"".join(
    f"{chr(n + 1)}: &{chr(n + 1)} [*{chr(n)}, *{chr(n)}]\n".encode()
    for n in range(ord("a"), ord("z"))
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", None),
        (b"# nothing\n", None),
        (
            b"a: 010\nb: 1e3\nc: yes\nd: 2026-11-29\n",
            {"a": "010", "b": "1e3", "c": "yes", "d": "2026-11-29"},
        ),
        (b"a:\nb: ''\n", {"a": "", "b": ""}),
        (b"a: null\nb: ~\nc: 'null'\n", {"a": None, "b": None, "c": "null"}),
        (b"a: [x, {y: 1}]", {"a": ["x", {"y": "1"}]}),
        (b"\xef\xbb\xbfa: b", {"a": "b"}),
        (b"a: !!int x", {"a": "x"}),
        (b"a: !!python/object/apply:os.system [x]", {"a": ["x"]}),
        (b"a: " + b"1" * 5000, {"a": "1" * 5000}),
    ],
)
def test_what_it_holds_is_texts(text, found):
    """As they are written; no tag makes anything else of them."""
    assert read_yaml(text) == found


REFUSED = {
    "an alias": (b"a: &x 1\nb: *x", "line 2, column 4: aliases"),
    "a bomb of aliases": (BOMB, "line 2, column 8: aliases"),
    "an alias of what it stands in": (b"a: &x [*x]", "aliases"),
    "an alias as a key": (b"a: &x 1\n*x : 2", "aliases"),
    "depth": (b"[" * 30_000, "more than 8 levels"),
    "depth of mappings": (b"{a: " * 10_000, "more than 8 levels"),
    "a key twice": (b"a: 1\nb: 2\na: 3", "line 3, column 1: the key a stands twice"),
    "a key twice, deeper": (b"a: {b: 1, 'b': 2}", "the key b stands twice"),
    "many keys": (b"".join(b"k%d: 1\n" % n for n in range(257)), "more than 256 keys"),
    "size": (b"#" * (MOST_BYTES + 1), "longer than 65536 bytes"),
    "no YAML": (b"a: [", "line 1, column 5: "),
    "a mapping in a value": (b"api_key: hunter2: x", "line 1, column 17: mapping values"),
    "a list as a key": (b"? [a]\n: b", "unhashable"),
    "two documents": (b"a: 1\n---\nb: 2", "another document"),
    "no text": (b"a: \xff", "not UTF-8 .byte 4"),
    "a zero": (b"a: \x00", "characters that YAML does not allow"),
}


@pytest.mark.parametrize(("text", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_with_its_place(text, told):
    """Never with a value: it may be a key."""
    with pytest.raises(ValueError, match=told) as caught:
        read_yaml(text)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "filling", [b"- a\n", b"'", b"a: b, ", b"? ", b"&a ", b"!x ", b"\t", b"- " * 3, b"%Y 1\n"]
)
def test_a_full_file_of_anything_is_read_or_refused(filling):
    """Nothing else is raised, and nothing takes longer than its size allows."""
    text = (filling * MOST_BYTES)[:MOST_BYTES]

    try:
        found = read_yaml(text)
    except ValueError:
        return
    assert len(repr(found)) < 4 * MOST_BYTES
