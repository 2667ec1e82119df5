"""A hypothesis grammar of input files: good lines in every spelling JSON has, and every way to be wrong."""

from __future__ import annotations

import random

from hypothesis import strategies as st

ENDPOINT = "/v1/chat/completions"
_one = st.sampled_from

# Each spelling below is a JSON string, or is meant to look like one.
IDS = [
    *(f'"id-{n}"' for n in range(12)),
    '""',
    '" id-1"',
    '"id\\u002d1"',
    '"é"',
    '"e\\u0301"',
    '"\\u00e9"',
    '"😀"',
    '"\\ud83d\\ude00"',
    '"\\u0000"',
    '"a\\/b\\"c\\\\"',
    '"\u2028"',
    '"' + "x" * 600 + '"',
]
BAD_IDS = ["7", "null", "true", '["a"]', '{"a": 1}', '"\\ud800"', '"\\ude00\\ud83d"', "-0.5e7"]
METHODS = ['"POST"', '"\\u0050OST"']
BAD_METHODS = ['"GET"', '"post"', '"POST "', "null", "1", "[]", '""']
URLS = [f'"{ENDPOINT}"', '"\\/v1\\/chat\\/completions"', '"/v1/chat\\u002fcompletions"']
BAD_URLS = [f'"{ENDPOINT}/"', '"/v1/embeddings"', f'"http://x{ENDPOINT}"', '""', "null", "{}"]
MODELS = ['"m"', '"m"', '"m"', '"n"', '"\\u006d"', '"org/n"', '""']
BAD_MODELS = ["null", "3", "[]", "{}", "true"]
STREAMS = ["false", "null"]
BAD_STREAMS = ["true", "1", "0", '""', "[]", "{}", '"false"', "0.0"]
VALUES = [
    "0",
    "-0",
    "1.50",
    "1e400",
    "-1E-5",
    "9" * 40,
    "9" * 5000,
    "true",
    "null",
    '"x"',
    '"\\ud800"',
    '"\\ud83d\\ude00\\ud83d"',
    '"\u2028\u0085"',
    "[]",
    "{}",
    '[ {"role" : "user","content":"hé\\n"} ]',
    "[" * 60 + "]" * 60,
    '{"custom_id": 1, "body": {"stream": true}}',
    '{"a": 1, "a": 2}',
]
NO_VALUES = [
    "NaN",
    "-Infinity",
    "01",
    "+1",
    ".5",
    "1.",
    "-",
    "1e",
    "tru",
    "None",
    "0x1",
    "'x'",
    '"\\x"',
    '"\\u12"',
    '"\x01"',
    '"\x00"',
    '"\t"',
    '"open',
    "[1,]",
    '{"a": 1,}',
    "{a: 1}",
    '{"a" 1}',
    "[" * 100_000,
    "[1 2]",
    "",
    "\ufeff1",
    "/* */1",
]
SPACES = ["", "", "", " ", "\t", "\r", "  "]
BLANKS = [b"", b"", b" ", b"\t\r", b"\x0b", b"\x0c "]
ODD_LINES = [
    b"nonsense",
    b"[]",
    b"[1, 2]",
    b'"a string"',
    b"7",
    b"null",
    b"true",
    b"{}",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"{}{}",
    b"}",
    b'{"custom_id"',
    "{}".encode("utf-16"),
    b"{" * 100_000,
]


def _body(pick, *, wild):
    members = {"model": pick.choice(MODELS), "messages": pick.choice(VALUES)}
    if pick.random() < 0.3:
        members["stream"] = pick.choice(STREAMS)
    names = ["x", "é", "tool", "prompt", "model "]
    extra = [(pick.choice(names), pick.choice(VALUES)) for _ in range(pick.randrange(3))]
    if wild and pick.random() < 0.5:
        bad = {
            "model": BAD_MODELS,
            "stream": BAD_STREAMS,
            "messages": NO_VALUES,
            "extra": NO_VALUES,
        }
        name = pick.choice(["whole", *bad])
        if name == "whole":
            return pick.choice([*VALUES, *NO_VALUES])
        members[name] = pick.choice([None, *bad[name]])
    return _object(pick, [*members.items(), *extra])


def _object(pick, members):
    """Spell an object: order, white space and a repeated name are free."""
    given = [(f'"{name}"', value) for name, value in members if value is not None]
    if pick.random() < 0.3:
        pick.shuffle(given)
    if given and pick.random() < 0.1:
        given.append(given[0])
    space = pick.choice(SPACES)
    text = f",{space}".join(f"{name}{space}:{value}{space}" for name, value in given)
    return "{" + space + text + "}"


def _line(seed, number, *, wild, unique):
    """Spell one line; `seed` makes all its choices."""
    pick = random.Random(seed)
    fields = {
        "custom_id": f'"u{number}"' if unique else pick.choice(IDS),
        "method": pick.choice(METHODS),
        "url": pick.choice(URLS),
        "body": _body(pick, wild=wild),
    }
    extra = [(pick.choice(["x", "id", "Body"]), pick.choice(VALUES))] * pick.randrange(2)
    if wild and pick.random() < 0.5:
        bad = {"custom_id": BAD_IDS, "method": BAD_METHODS, "url": BAD_URLS, "body": NO_VALUES}
        name = pick.choice(list(bad))
        fields[name] = pick.choice([None, *bad[name], *bad[name], *NO_VALUES])
    members = [*fields.items(), *extra]
    if pick.random() < 0.15:
        members = [("custom\\u005fid" if n == "custom_id" else n, v) for n, v in members]
    raw = _object(pick, members).encode("utf-8", "surrogatepass")
    return _damaged(pick, raw) if wild and pick.random() < 0.25 else raw


def _damaged(pick, raw):
    at = pick.randrange(len(raw) + 1)
    piece = pick.choice([b"\xff", b"\x00", b"\xc3", b"}", b'"', b",", b" ", b"\\", b"\xed\xa0\x80"])
    damages = [
        raw[:at],
        raw[:at] + piece + raw[at:],
        raw[:at] + piece + raw[at + 1 :],
        raw + piece,
        piece + raw,
        raw + raw,
    ]
    return pick.choice(damages)


@st.composite
def input_files(draw):
    """Make a file: some are good throughout, some but for repeated ids, some in no way."""
    wild, unique = draw(_one([(False, True), (False, False), (True, False), (True, False)]))
    seeds = draw(st.lists(st.integers(0, 1 << 32), max_size=7))
    seeds *= draw(_one([1] * 9 + [15]))  # now and then more than a slice holds
    lines = [_line(seed, n, wild=wild, unique=unique) for n, seed in enumerate(seeds)]
    for odd in draw(st.lists(_one(BLANKS + ODD_LINES * wild), max_size=2)):
        lines.insert(draw(st.integers(0, len(lines))), odd)
    end = draw(_one([b"\n", b"\n", b"\r\n"]))
    start = draw(_one([b"", b"", b"", b"\xef\xbb\xbf"]))
    return start + end.join(lines) + draw(_one([b"", end]))
