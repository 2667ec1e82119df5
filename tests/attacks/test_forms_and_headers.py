"""Requests that cost their sender nothing: while they are looked at everybody else is answered as ever."""

from __future__ import annotations

import gzip
import itertools
import json
import random

import pytest

ENOUGH = 40  # answers of /health, beside at least three attacks
JUDGED_S = 10  # of work before answers: more would tell no more
MORE = 10  # times the work of the event loop that comes before an answer beside honest uploads, at most
SLACK_S = 0.1
KEPT_BYTES = 50 << 20
ENDLESS_BYTES = (
    96 << 20
)  # what an attacker sends if nobody stops it; the kernel holds some on the way

OPEN = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TINY = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
END = b"\r\n--x--\r\n"


def head(*headers, target="/v1/files", form="multipart/form-data; boundary=x"):
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Type: {form}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode("utf-8", "surrogateescape")


def whole(body, *headers, **kwargs):
    """Make a request whose body is known."""
    return lambda: (head(f"Content-Length: {len(body)}", *headers, **kwargs), [body])


def with_disposition(parameters, **kwargs):
    """Make a form of one part."""
    part = b"--x\r\nContent-Disposition: form-data; " + parameters + b"\r\n\r\nhello\r\n--x--\r\n"
    return whole(part, **kwargs)


def endless(piece, *headers, before=b"", **kwargs):
    """Make a request whose body goes on until it is answered, in HTTP chunks of 64 KiB."""
    block = piece * ((1 << 16) // len(piece) or 1)

    def made():
        chunks = itertools.repeat(b"%x\r\n%b\r\n" % (len(block), block), ENDLESS_BYTES >> 16)
        first = b"%x\r\n%b\r\n" % (len(before), before)
        pieces = itertools.chain([first] if before else [], chunks, [b"0\r\n\r\n"])
        return head("Transfer-Encoding: chunked", *headers, **kwargs), pieces

    return made


def packed(piece, megabytes, **kwargs):
    """Make a request whose body is small and unpacks to much."""
    block = piece * ((1 << 20) // len(piece))
    return whole(gzip.compress(block * megabytes, 1), "Content-Encoding: gzip", **kwargs)


def get(target, *headers):
    """Make a request without a body."""
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    return lambda: ("\r\n".join(lines).encode("utf-8", "surrogateescape"), [])


HEADERS = {
    "the reported one": with_disposition(b'name="file"; filename="' + b"\\" * 36),
    "60 backslashes": with_disposition(b'name="file"; filename="' + b"\\" * 60),
    "8,000 backslashes": with_disposition(b'name="file"; filename="' + b"\\" * 8000),
    "in the name": with_disposition(b'name="' + b"\\" * 8000),
    "with quotes": with_disposition(b'filename="' + b'\\"' * 4000),
    "semicolons": with_disposition(b";" * 8000),
    "open quotes": with_disposition(b'; a="' * 1600),
    "a name without a value": with_disposition(b"a" * 8000),
    "spaces": with_disposition(b"name" + b" " * 8000),
    "percents": with_disposition(b"filename*=utf-8''" + b"%ff" * 2600),
    "apostrophes": with_disposition(b"filename*=" + b"'" * 8000),
    "16 KiB": with_disposition(b'name="file"; filename="' + b"\\a" * 8100),
    "gzip-packed": whole(
        gzip.compress(OPEN.replace(b'"a"', b'"' + b"\\" * 8000) + END), "Content-Encoding: gzip"
    ),
    "the boundary": whole(b"x", form='multipart/form-data; boundary="' + "\\" * 7000),
    "a content type of semicolons": whole(b"x", form="multipart/form-data" + "; a=b" * 1400),
    "a content type of open quotes": whole(b"x", form="multipart/form-data" + '; a="' * 1400),
    "a content type at the sign-in": whole(
        b"x", form="application/x-www-form-urlencoded" + '; a="' * 1400, target="/sign-in"
    ),
    "an encoding": whole(b"x", "Content-Encoding: " + "gzip, " * 1000),
    "a part of an upload": with_disposition(
        b'name="data"; filename="' + b"\\" * 8000, target="/v1/uploads/UPLOAD/parts"
    ),
    "a range": get("/v1/files/FILE/content", "Range: bytes=" + " " * 8000 + "x"),
    "ranges": get("/v1/files/FILE/content", "Range: bytes=" + "0-," * 2600),
    "a condition": get("/static/style.css", "If-None-Match: " + 'W/"a" , ' * 1000),
    "a cookie": get("/", 'Cookie: a="' + '\\"' * 4000),
    "a key": get("/v1/files", "Authorization: Bearer " + " " * 8000),
    "a host": get("/docs", "X-Forwarded-Host: " + "a." * 4000),
    "a query": get("/v1/files?" + "a=%ff&" * 1300),
    "a number": get("/v1/files?limit=" + "1" * 8000),
    "an id": get("/v1/files/" + "%41" * 2600),
    "slashes": get("/" + "/" * 8000),
    "dots": get("/" + "../" * 2600),
    "a whole address": get("http://" + "a." * 4000 + "/"),
    "a foreign address": get("http://" + "é" * 4000 + "/"),
}
PARTS = {
    "the reported ones": endless(TINY),
    "gzip-packed": packed(TINY, 10),
    "gzip-packed twice": packed(TINY, 100),
    "files": endless(TINY.replace(b'"a"', b'"a"; filename="b"')),
    "without headers": endless(b"--x\r\n\r\n\r\n"),
    "of an upload": endless(TINY, target="/v1/uploads/UPLOAD/parts"),
    "after the file": endless(TINY, before=OPEN + b"{}\r\n"),
    "large headers": endless(b"--x\r\nX: " + b"a" * 16_000 + b"\r\n\r\n\r\n"),
    "header lines": endless(b"X: 1\r\n", before=b"--x\r\n"),
    "a header line": endless(b"a", before=b"--x\r\nX: "),
    "other boundaries": endless(b"\r\n--x" + b"-", before=OPEN),
}
SLOW_TO_READ = {
    "near boundaries": (b"\r\n--y", OPEN),
    "line ends in a file": (b"\r\n", OPEN),
    "returns in a file": (b"\r", OPEN),
    "a preamble of line ends": (b"\r\n", b""),
    "a preamble of boundaries": (b"\r\n--y\r\n", b""),
    "an epilogue of parts": (TINY, OPEN + b"{}" + END),
}


@pytest.fixture(scope="module")
def names(target):
    """Ids of a file and of an upload that waits for its parts."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n' + OPEN + END
    )
    _, file, _ = target.sends(*whole(body)())
    wanted = {"filename": "a", "purpose": "batch", "bytes": 5, "mime_type": "text/plain"}
    create = whole(json.dumps(wanted).encode(), target="/v1/uploads", form="application/json")
    _, upload, _ = target.sends(*create())
    return {b"FILE": json.loads(file)["id"].encode(), b"UPLOAD": json.loads(upload)["id"].encode()}


@pytest.fixture(scope="module")
def ordinary(target):
    """What comes before an answer of /health beside honest uploads of a megabyte."""
    noise = random.Random(1).randbytes(1 << 20)
    field = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    return worst(target, whole(field + OPEN + noise + END), {}, expected={200})


def worst(target, attack, names, *, expected):
    """Attack again and again; return what all but one answers of /health stayed below, and in what time."""
    with target.health() as waits:
        for attacks in itertools.count(1):
            begun, pieces = attack()
            for name, value in names.items():
                begun = begun.replace(name, value)
            status, text, sent = target.sends(begun, pieces)
            assert status in expected, text
            assert sent < ENDLESS_BYTES, "it was never refused"
            seen = len(waits) >= ENOUGH and attacks >= 3
            if seen or sum(work_s for work_s, _ in waits) > JUDGED_S:
                break
    works_s, times_s = (sorted(column)[-2] for column in zip(*waits, strict=True))
    return works_s, times_s


def check(target, attack, names, ordinary, *, expected=frozenset({400})):
    before = target.resident_bytes()

    work_s, time_s = worst(target, attack, names, expected=expected)

    print(
        f"{work_s * 1000:.0f} ms of work before an answer of /health, {time_s * 1000:.1f} ms of time"
    )
    assert work_s < MORE * ordinary[0] + SLACK_S
    assert target.resident_bytes() - before < KEPT_BYTES


@pytest.mark.parametrize("attack", HEADERS.values(), ids=HEADERS)
def test_no_header_stops_the_gateway(target, names, ordinary, attack):
    """Refused or not, it is read in no time."""
    check(target, attack, names, ordinary, expected={200, 206, 303, 400, 403, 404, 415, 416, 421})


@pytest.mark.parametrize("attack", PARTS.values(), ids=PARTS)
def test_endless_parts_are_refused_at_once(target, names, ordinary, attack):
    """While most of them are still to come."""
    check(target, attack, names, ordinary)


@pytest.mark.parametrize(("piece", "before"), SLOW_TO_READ.values(), ids=SLOW_TO_READ)
def test_a_form_without_an_end_stops_nobody(target, ordinary, piece, before):
    """It may be as long as a file, and is read beside all else."""
    block = piece * ((8 << 20) // len(piece))

    check(target, whole(before + block), {}, ordinary)


TINY_CHUNKS = [b"1\r\na\r\n" * (1 << 17)]
TINY_THINGS = {
    "chunks of a form": (head("Transfer-Encoding: chunked"), 400),
    "chunks nobody wants": (head("Transfer-Encoding: chunked", target="/nope"), 404),
    "chunks of JSON": (head("Transfer-Encoding: chunked", target="/v1/batches"), 400),
    "chunks for a model": (head("Transfer-Encoding: chunked", target="/v1/embeddings"), 400),
}


@pytest.mark.parametrize(("begun", "status"), TINY_THINGS.values(), ids=TINY_THINGS)
def test_a_body_in_tiny_chunks_stops_nobody(target, ordinary, begun, status):
    """A hundred thousand HTTP chunks of one byte."""
    check(target, lambda: (begun, [*TINY_CHUNKS, b"0\r\n\r\n"]), {}, ordinary, expected={status})


def test_many_requests_at_once_stop_nobody(target, ordinary):
    """A megabyte of them in one piece, the answers to which are not read."""
    one = b"GET /v1/files/nope HTTP/1.1\r\nHost: localhost\r\n\r\n"

    check(target, lambda: (one, [one * 25_000]), {}, ordinary, expected={404})
