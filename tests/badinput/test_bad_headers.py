"""Headers that lie, repeat, overflow or try to split an answer."""

from __future__ import annotations

import gzip
import re
import zlib

import pytest
from wire import (
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    Case,
    check_refusal,
    form,
    json_request,
    part,
    request,
)

POST = ("POST", "/v1/batches", "Content-Type: application/json")
LENGTHS = {
    "a word": "abc",
    "empty": "",
    "negative": "-1",
    "signed": "+5",
    "a decimal": "1.5",
    "an exponent": "1e1",
    "hexadecimal": "0x5",
    "underscored": "1_0",
    "two in one": "5, 5",
    "spaced": "5 5",
    "not ASCII": "٥",
    "endless": "9" * 400,
}


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_a_length_that_is_no_number_is_refused(server, length):
    """Nobody guesses where the next request begins."""
    server.refuses(Case(request(*POST, f"Content-Length: {length}", body=b"{}   ")))


FRAMINGS = {
    "length and chunks": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "chunks and more": ("Transfer-Encoding: chunked, identity",),
    "chunks twice": ("Transfer-Encoding: chunked, chunked",),
    "an unknown coding": ("Transfer-Encoding: xchunked",),
    "a coding alone": ("Transfer-Encoding: gzip",),
    "identity": ("Transfer-Encoding: identity",),
    "a control character": ("Transfer-Encoding: \x0bchunked",),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "folded": ("Transfer-Encoding:\r\n chunked",),
}


@pytest.mark.parametrize("headers", FRAMINGS.values(), ids=FRAMINGS)
def test_a_framing_that_two_readers_may_read_differently_is_refused(server, headers):
    """What follows is never taken for a second request: one refusal, then the end."""
    smuggled = b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(request(*POST, *headers, body=smuggled))
        said = connection.makefile("rb").read()

    statuses = re.findall(rb"HTTP/1\.[01] (\d+)", said)
    assert statuses
    assert set(statuses) == {b"400"}
    assert b"smuggled" not in said


HEADS = {
    "a name with a space": b"X Y: 1",
    "no colon": b"nonsense",
    "no name": b": 1",
    "a folded line": b"X: 1\r\n 2",
    "a leading space": b" X: 1",
    "NUL in a value": b"X: a\x00b",
    "a carriage return in a value": b"X: a\rb",
    "a name that is not ASCII": "É: 1".encode(),
    "a control character in a name": b"X\x01: 1",
    "an endless value": b"X: " + b"a" * 70_000,
    "an endless name": b"X" * 70_000 + b": 1",
    "very many": b"\r\n".join(b"X-%d: 1" % n for n in range(500)),
    "two hosts": b"Host: a\r\nHost: b",
    "two types": b"Content-Type: text/plain\r\nContent-Type: application/json",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_that_is_no_http_is_refused(server, head):
    """As an error object like any other."""
    server.refuses(Case(request("GET", "/v1/files", head)))


OPENINGS = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /v1/files HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "a bad version": b"GET /v1/files HTTP/1.1x\r\nHost: localhost\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "JSON": b'{"model": "m"}\r\n\r\n',
    "only bytes": bytes(range(1, 256)) + b"\r\n\r\n",
    "a tab": b"GET\t/v1/files\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_another_protocol_is_refused(server, opening):
    """Whatever a scanner sends."""
    server.refuses(Case(opening))


EXPECTATIONS = ["200-ok", "100-continue, 200-ok", "x", ""]


@pytest.mark.parametrize("expected", EXPECTATIONS)
@pytest.mark.parametrize("target", ["/v1/batches", "/v1/files"])
def test_an_expectation_nobody_knows_is_ignored(server, expected, target):
    """RFC 9110 §10.1.1 allows it; the body is judged as ever."""
    answer = server.ask(request("POST", target, f"Expect: {expected}", body=b"{}"))

    check_refusal(answer, Case(b"", 400, ".", answer.error["param"], answer.error["code"]))


@pytest.mark.parametrize("expected", EXPECTATIONS[:3])
@pytest.mark.parametrize("target", ["/v1/nope", "/health"])
def test_an_expectation_where_no_body_is_read_is_refused_in_openais_form(server, expected, target):
    """Nothing of the framework's own words comes through."""
    answer = server.ask(request("POST", target, f"Expect: {expected}", body=b"{}"))

    check_refusal(answer, Case(b"", answer.status, ".", None, answer.error["code"]))
    assert answer.status in {404, 405, 417}


@pytest.mark.parametrize("target", ["/v1/files", "/v1/chat/completions"])
def test_a_body_that_is_too_large_is_not_even_asked_for(server, target):
    """With `Expect: 100-continue` the refusal comes instead of the go-ahead."""
    type_ = "Content-Type: multipart/form-data; boundary=b"
    sent = request("POST", target, type_, "Expect: 100-continue", "Content-Length: 999999999")
    with server.connect() as connection:
        connection.sendall(sent)
        first = connection.makefile("rb").readline()

    assert first.split()[1] in {b"400", b"413"}


ENCODINGS = {
    "brotli": ("br", b"x", 415, "'gzip' and 'zstd'"),
    "deflate": ("deflate", zlib.compress(b"{}"), 415, "'gzip' and 'zstd'"),
    "two": ("gzip, gzip", b"x", 415, "one at a time"),
    "made up": ("a" * 3000, b"x", 415, "'gzip' and 'zstd'"),
    "not gzip": ("gzip", b"{}", 400, "is damaged, or no gzip at all"),
    "not zstd": ("zstd", b"{}", 400, "is damaged, or no zstd at all"),
    "cut short": ("gzip", gzip.compress(b"{}")[:-3], 400, "is cut short"),
    "damaged": ("gzip", gzip.compress(b"{}")[:-5] + b"12345", 400, "is damaged"),
    "with a tail": ("gzip", gzip.compress(b"{}") + b"x" * 50, 400, "followed by something else"),
    "a bomb": ("gzip", gzip.compress(b" " * 20_000_000), 413, "too large"),
}


@pytest.mark.parametrize(("coding", "body", "status", "says"), ENCODINGS.values(), ids=ENCODINGS)
def test_a_body_that_cannot_be_unpacked_is_refused(server, coding, body, status, says):
    """Before anything is done with it; a bomb is stopped at the limit."""
    answer = server.ask(json_request(body, f"Content-Encoding: {coding}"))

    code = "invalid_compressed_data" if status == 400 else None
    check_refusal(answer, Case(b"", status, says, code=code))


KEYS = {
    "empty": [""],
    "too long": ["k" * 256],
    "with a space": ["a b"],
    "not ASCII": ["schlüssel"],
    "with a tab": ["a\tb"],
    "twice": ["a", "a"],
}


@pytest.mark.parametrize("values", KEYS.values(), ids=KEYS)
def test_an_idempotency_key_that_is_none_is_refused(server, stored, values):
    """Rather than ignored: the client relies on it."""
    body = {"input_file_id": stored, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    headers = [f"Idempotency-Key: {value}" for value in values]

    server.refuses(
        Case(
            json_request(body, *headers),
            400,
            "Invalid header 'Idempotency-Key'",
            "Idempotency-Key",
            "invalid_value",
        )
    )


RANGES = {
    "behind the end": "bytes=999999-",
    "just behind the end": "bytes={size}-",
    "nothing": "bytes=-0",
}


@pytest.mark.parametrize("range_", RANGES.values(), ids=RANGES)
def test_a_range_that_does_not_exist_is_a_416(server, stored, range_):
    """With the true size, so that the client can ask again."""
    size = server.ask(request("GET", f"/v1/files/{stored}")).json["bytes"]
    sent = request("GET", f"/v1/files/{stored}/content", f"Range: {range_.format(size=size)}")

    server.refuses(
        Case(sent, 416, f"only {size} bytes", headers={"content-range": f"bytes */{size}"})
    )


ODD_RANGES = [
    "bytes=2-1",
    "bytes=a-b",
    "lines=0-1",
    "bytes=0-1,5-6",
    "bytes=" + "0-," * 2000,
    "bytes=--1",
    "bytes=",
    "=",
    "bytes=٠-٥",
    "bytes=" + "9" * 1000 + "-",
]


@pytest.mark.parametrize("range_", ODD_RANGES, ids=[r[:15] for r in ODD_RANGES])
def test_a_range_that_is_none_gives_the_whole_file(server, stored, range_):
    """RFC 9110 §14.2: what is not understood is ignored."""
    answer = server.ask(request("GET", f"/v1/files/{stored}/content", f"Range: {range_}"))

    assert answer.status == 200
    assert answer.body.count(b"\n") == 3


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*;q=", ";;;", "image/*"])
def test_errors_are_json_whatever_is_accepted(server, accept):
    """No HTML for browsers, no 406."""
    server.refuses(
        Case(request("GET", "/v1/files/x", f"Accept: {accept}"), 404, "No such File", "id")
    )


ORDINARY = [
    "Upgrade: websocket\r\nConnection: upgrade",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Cookie: " + "a=b; " * 500,
    "X-Request-Id: {{7*7}}",
    "X-Forwarded-For: 1.2.3.4, ' OR 1=1",
    "Forwarded: for=_x;host=evil",
    "X-Original-URL: /secret",
    "Connection: close, x-request-id",
    "Accept-Language: " + "a" * 4000,
    "If-Modified-Since: never",
]


@pytest.mark.parametrize("header", ORDINARY, ids=[h[:20] for h in ORDINARY])
def test_headers_that_do_not_concern_it_are_ignored(server, header):
    """They change nothing in the answer."""
    answer = server.ask(request("GET", "/v1/files", header))

    assert answer.status == 200
    assert answer.json["object"] == "list"
    assert "evil" not in str(answer.headers)


@pytest.mark.parametrize("size", [MAX_LINE_BYTES + 1, 10**15])
def test_an_announced_giant_is_refused_at_once(server, size):
    """No byte of it is awaited."""
    case = Case(
        request("POST", "/v1/embeddings", f"Content-Length: {size}"),
        413,
        rf"The limit is {MAX_LINE_BYTES} bytes \(BATCHLINE_MAX_LINE_BYTES\)",
    )

    server.refuses(case)


@pytest.mark.parametrize("size", [(1 << 20) + 1, 10**15])
def test_an_announced_giant_of_json_is_refused_at_once(server, size):
    """The limit of JSON bodies is fixed: none needs a mebibyte, but for the requests that one may bring."""
    sent = request("POST", "/v1/uploads", f"Content-Length: {size}")

    server.refuses(Case(sent, 413, "1048576 bytes"))


def test_an_announced_giant_of_a_create_is_refused_at_once(server):
    """With requests in it, it may be as long as a file and its fields."""
    sent = request(*POST, f"Content-Length: {10**15}")

    server.refuses(Case(sent, 413, f"{MAX_FILE_BYTES + (1 << 20)} bytes .BATCHLINE_MAX_FILE_BYTES"))


def test_an_announced_giant_of_a_file_is_refused_at_once(server):
    """With OpenAI's words and the limit."""
    sent = request(
        "POST",
        "/v1/files",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {10**12}",
    )

    server.refuses(Case(sent, 400, f"File is too large. The limit is {MAX_FILE_BYTES} bytes"))


FORMS = {
    "no type": None,
    "JSON": "application/json",
    "url-encoded": "application/x-www-form-urlencoded",
    "another multipart": "multipart/mixed; boundary=b",
    "nonsense": ";;;",
    "not ASCII": "multipärt/form-data; boundary=b",
    "no boundary": "multipart/form-data",
    "an empty boundary": "multipart/form-data; boundary=",
    "an empty quoted boundary": 'multipart/form-data; boundary=""',
    "another boundary": "multipart/form-data; boundary=c",
    "an endless boundary": "multipart/form-data; boundary=" + "b" * 3000,
    "a boundary not ASCII": "multipart/form-data; boundary=é",
    "a boundary of spaces": 'multipart/form-data; boundary="   "',
}


@pytest.mark.parametrize("type_", FORMS.values(), ids=FORMS)
def test_an_upload_of_another_type_is_refused(server, type_):
    """The message says what is wanted."""
    whole = form(part("purpose", b"batch"), part("file", b"{}", "a"))
    body = whole.partition(b"\r\n\r\n")[2]
    headers = [] if type_ is None else [f"Content-Type: {type_}"]

    answer = server.refuses(Case(request("POST", "/v1/files", *headers, body=body)))

    assert "multipart/form-data" in answer.error["message"]


AUTHORIZATIONS = {
    "none": [],
    "empty": ["Authorization:"],
    "a scheme alone": ["Authorization: Bearer"],
    "another scheme": ["Authorization: Basic c2VzYW1l"],
    "a wrong key": ["Authorization: Bearer sesame2"],
    "a prefix": ["Authorization: Bearer sesam"],
    "another case": ["Authorization: Bearer SESAME"],
    "no scheme": ["Authorization: sesame"],
    "not ASCII": ["Authorization: Bearer sésame"],
    "not UTF-8": [b"Authorization: Bearer \xff\xfe"],
    "endless": ["Authorization: Bearer " + "x" * 8000],
    "quoted": ['Authorization: Bearer "sesame"'],
    "another header": ["X-Token: sesame"],
    "two keys, the wrong one first": [
        "Authorization: Bearer wrong",
        "Authorization: Bearer sesame",
    ],
}


@pytest.mark.parametrize("headers", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
@pytest.mark.parametrize("target", ["/v1/files", "/v1/chat/completions", "/v1/nope"])
def test_without_the_key_nothing_is_read(locked, headers, target):
    """The body is not even looked at, and the answer does not repeat what was sent."""
    answer = locked.ask(request("POST", target, *headers, body=b"nonsense"))

    check_refusal(
        answer,
        Case(b"", 401, "Incorrect API key provided", code="invalid_api_key"),
    )
    assert "sesam" not in answer.error["message"]
