"""How a form is taken apart: whatever pieces it comes in, in bounded time, as any client writes it."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import httpx
import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from waiting import turn

from batchline.cli.api.client import _multipart
from batchline.errors import Invalid
from gateway.forms.content_disposition import read_disposition, read_header
from gateway.forms.parts import HEAD_BYTES, MOST_PARTS, parts_of

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
TINY = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
WHOLE = (
    b'before\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b"--b \t\r\nX: y\r\nx: z\r\n\r\n\r\r\n\r\n--\r\n--a\r\n\n--b\r\n--b\r\n"
    b"\r\nno headers\r\n--b\r\nEmpty: 1\r\n\r\n\r\n--b\r\nNothing: 1\r\n\r\n--b--after\r\n--b\r\n"
)
READ = [
    ({"content-disposition": 'form-data; name="purpose"'}, b"batch"),
    ({"x": "y"}, b"\r\r\n\r\n--\r\n--a\r\n\n--b"),
    ({}, b"no headers"),
    ({"empty": "1"}, b""),
    ({"nothing": "1"}, b""),
]


async def coming(pieces):
    for piece in pieces:
        yield piece


async def read(body, *, boundary="b"):
    """Return all parts, headers and content; of a body in one piece or several."""
    pieces = [body] if isinstance(body, bytes) else body
    return [
        (part.headers, b"".join([chunk async for chunk in part.content]))
        async for part in parts_of(coming(pieces), boundary)
    ]


def refused(body, match, *, boundary="b"):
    with pytest.raises(Invalid, match=match):
        asyncio.run(read(body, boundary=boundary))


def pieces_of(body, size):
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11, 1000])
async def test_the_parts_are_the_same_whatever_pieces_they_come_in(size):
    """What looks like a boundary is content; padding, a preamble and what follows are skipped."""
    assert await read(pieces_of(WHOLE, size)) == READ


@given(
    contents=st.lists(
        st.text("\r\n-bx").filter(lambda text: "--b" not in text).map(str.encode),
        min_size=1,
        max_size=4,
    ),
    cuts=st.lists(st.integers(1, 9)),
)
def test_every_content_comes_back(contents, cuts):
    """Of contents that have the boundary's signs in any order, but not the boundary."""
    body = b"".join(b"--b\r\nX: 1\r\n\r\n%b\r\n" % content for content in contents) + b"--b--"
    pieces = []
    for cut in cuts:
        pieces, body = [*pieces, body[:cut]], body[cut:]

    parts = asyncio.run(read([piece for piece in [*pieces, body] if piece]))

    assert [content for _, content in parts] == contents


async def test_a_part_that_is_not_read_is_skipped():
    """As are those of which only the beginning was."""
    names = []
    async for part in parts_of(coming(pieces_of(WHOLE, 3)), "b"):
        names += part.headers
        await anext(part.content, b"")

    assert names == ["content-disposition", "x", "empty", "nothing"]


BROKEN = {
    "no boundary": b"hello\r\n",
    "no end": TINY,
    "half an end": TINY + b"--b-",
    "another boundary": TINY + b"--c--",
    "a longer boundary": TINY + b"--bb--",
    "something after a boundary": b"--b x\r\n\r\n\r\n--b--",
    "no empty line": b"--b\r\nX: 1\r\n--b--",
    "bare line feeds": b"--b\nX: 1\n\n1\n--b--\n",
    "a folded header": b"--b\r\nX: 1\r\n 2\r\n\r\n1\r\n--b--",
    "a header with a control character": b"--b\r\nX: \x01\r\n\r\n1\r\n--b--",
    "a header without a name": b"--b\r\n: 1\r\n\r\n1\r\n--b--",
    "a header that is not closed": b"--b\r\nX: 1",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_form_that_is_broken_is_refused(body, size):
    """Whatever pieces it comes in."""
    refused(pieces_of(body, size), "^The form is broken")


@pytest.mark.parametrize("boundary", ["", "b" * 71])
def test_a_boundary_that_is_none_is_refused(boundary):
    """RFC 2046 allows 70 characters."""
    refused(WHOLE, "^The form is broken", boundary=boundary)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_headers_without_end_are_refused(size):
    """With the limit; what fits is read."""
    long = b"--b\r\nX: " + b"a" * (HEAD_BYTES - 5) + b"\r\n\r\n1\r\n--b--"

    ((_, content),) = asyncio.run(read(pieces_of(long, size)))

    assert content == b"1"
    refused(pieces_of(long.replace(b"X:", b"XY:"), size), f"more than {HEAD_BYTES} bytes")


async def test_a_form_may_have_110_parts():
    """And ends as any."""
    assert len(await read(TINY * MOST_PARTS + b"--b--")) == MOST_PARTS == 110


async def test_of_endless_parts_no_more_is_read_than_tells():
    """The first piece has more than the limit; the rest of the body is left where it is."""
    taken = []

    async def endless():
        while True:
            taken.append(len(taken))
            yield TINY * 5000

    with pytest.raises(Invalid, match="more than 110 parts"):
        [part async for part in parts_of(endless(), "b")]

    assert taken == [0]


async def test_between_two_parts_others_get_their_turn():
    """However many came in one piece."""
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await turn()

    task = asyncio.create_task(others())
    seen = [turns async for _ in parts_of(coming([TINY * 100 + b"--b--"]), "b")]
    task.cancel()

    assert seen == sorted(set(seen))


async def test_the_limit_of_parts_is_told(gateway):
    """Whatever their names: files nobody asked for, fields, the same name again."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for number in range(37):
        form.add_field("file[]", b"x", filename="a")
        form.add_field(f"f{number}", "x")
        form.add_field("purpose", "batch")

    answer = await gateway.call("POST", "/v1/files", data=form)

    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("The form has more than 110 parts.")
    assert gateway.stored() == []


async def test_a_packed_form_is_read_to_its_end(gateway):
    """Its checksum comes after the closing boundary."""
    form = TINY.replace(b'"a"', b'"file"; filename="a"').replace(b"1", b"{}") + b"--b--"
    cut = gzip.compress(TINY.replace(b'"a"', b'"purpose"').replace(b"1", b"batch") + form)[:-4]

    answer = await gateway.call(
        "POST", "/v1/files", data=cut, headers=FORM | {"Content-Encoding": "gzip"}
    )

    assert answer.status == 400
    assert "is cut short" in answer.json["error"]["message"]
    assert gateway.stored() == []


HEADERS = {
    "plain": ('form-data; name="a"; filename="b"', {"name": "a", "filename": "b"}),
    "capitals and spaces": ('Form-Data ;NAME = "A" ; x=y ', {"name": "A", "x": "y"}),
    "no quotes": ("form-data; name=a; filename=my lines.jsonl", {"filename": "my lines.jsonl"}),
    "an open quote": ('form-data; name="a; filename=b', {"name": '"a', "filename": "b"}),
    "a semicolon": ('form-data; filename="a;b=c"; name=d', {"filename": "a;b=c", "name": "d"}),
    "an escaped quote": ('form-data; filename="a\\"b"', {"filename": 'a"b'}),
    "escaped backslashes": ('form-data; filename="a\\\\b"', {"filename": "a\\b"}),
    "a bare path": ('form-data; filename="C:\\a\\b"', {"filename": "C:\\a\\b"}),
    "a backslash at the end": ('form-data; filename="a\\"', {"filename": "a\\"}),
    "that, and more": ('form-data; filename="a\\"; name=b', {"filename": "a\\", "name": "b"}),
    "a percent": ('form-data; filename="100%25 %22a%22"', {"filename": '100%25 "a"'}),
    "RFC 8187": ("form-data; filename*=UTF-8''%C3%A9%27.txt; filename=e", {"filename": "é'.txt"}),
    "half of RFC 8187": ("form-data; filename*=it's", {"filename": "s"}),
    "an empty name": ('form-data; name="a"; filename=""', {"filename": ""}),
    "twice": ("form-data; name=a; name=b", {"name": "b"}),
    "nothing": ("", {}),
    "no value": ("form-data; name", {}),
}


@pytest.mark.parametrize(("header", "expected"), HEADERS.values(), ids=HEADERS)
def test_a_disposition_is_read_as_it_was_meant(header, expected):
    """Also where it is not written as it should be."""
    found = read_disposition(header)

    assert expected.items() <= found.items()
    assert bool(found) == bool(expected)


@pytest.mark.parametrize("written", ["b", '"b"', ' "b" ', "b ;x"])
def test_the_boundary_is_found_however_it_is_written(written):
    """With quotes or without, among other parameters."""
    kind, found = read_header(f" Multipart/Form-Data; charset=utf-8; boundary={written}")

    assert (kind, found["boundary"]) == ("multipart/form-data", "b")


NAMES = [
    "lines.jsonl",
    "my lines.jsonl",
    'say "hi".jsonl',
    "řádky 名前 😀.jsonl",
    "a;b=c'd,e.jsonl",
]


def by_httpx(name):
    """As the openai client does it too."""
    sent = httpx.Request("POST", "http://x", files={"file": (name, b"{}")})
    return sent.headers["content-type"], sent.read()


def by_requests(name):
    sent = requests.Request("POST", "http://x", files={"file": (name, b"{}")}).prepare()
    return sent.headers["content-type"], sent.body


def by_old_urllib3(name):
    """With RFC 2231's `filename*`, as long as urllib3 was 1.x."""
    param = urllib3.fields.format_header_param_rfc2231("filename", name)
    head = f'--b\r\nContent-Disposition: form-data; name="file"; {param}\r\n\r\n'
    return FORM["Content-Type"], head.encode() + b"{}\r\n--b--\r\n"


def by_our_command_line(name):
    head, tail = _multipart("b", name)
    return FORM["Content-Type"], head + b"{}" + tail


def by_old_browsers(name):
    """And by curl before 7.81: backslashes escape."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{escaped}"\r\n\r\n'
    return FORM["Content-Type"], head.encode() + b"{}\r\n--b--\r\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "write", [by_httpx, by_requests, by_old_urllib3, by_our_command_line, by_old_browsers]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
async def test_filenames_come_as_clients_write_them(write, name):
    """Each in its own way; the bytes come whole."""
    content_type, body = write(name)

    parts = await read(body, boundary=read_header(content_type)[1]["boundary"])

    headers, content = parts[-1]
    assert read_disposition(headers["content-disposition"])["filename"] == name
    assert content == b"{}"


@pytest.mark.parametrize("name", NAMES)
async def test_filenames_come_as_curl_writes_them(gateway, tmp_path, name):
    """The one that is installed."""
    path = tmp_path / "content"
    path.write_bytes(b"{}\n")
    told = name.replace("\\", "\\\\").replace('"', '\\"')
    curl = await asyncio.create_subprocess_exec(
        "curl",
        *("-sS", f"{gateway.url}/v1/files", "-F", "purpose=user_data"),
        *("-F", f'file=@"{path}";filename="{told}"'),
        stdout=asyncio.subprocess.PIPE,
    )

    answer, _ = await curl.communicate()

    (stored,) = (await gateway.client.files.list()).data
    assert stored.filename == name, answer
