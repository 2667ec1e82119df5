"""Requests that stop, break, trickle or hide another one behind themselves."""

from __future__ import annotations

import gzip
import json
import time

import pytest
from waiting import wait_until
from wire import (
    IDLE_S,
    PATIENCE_S,
    STALL_S,
    Case,
    check_refusal,
    form,
    json_request,
    part,
    read_answer,
    request,
)

UPLOAD = form(part("purpose", b"batch"), part("file", b"x" * 5000, "a.jsonl"))
CHUNKED = ("Transfer-Encoding: chunked",)
HEAD = request("POST", "/v1/batches", *CHUNKED)
UPLOAD_HEAD = request(
    "POST", "/v1/files", "Content-Type: multipart/form-data; boundary=b", *CHUNKED
)
FIRST_CHUNK = b"11\r\n--b\r\nContent-Disp\r\n"

CUTS = {
    "nothing": b"",
    "half a request line": b"GET /v1/fi",
    "half a head": b"GET /v1/files HTTP/1.1\r\nHost: localhost\r\nX-",
    "no body": request("POST", "/v1/batches", "Content-Length: 10"),
    "half a body": json_request({"input_file_id": "x"})[:-5],
    "half an upload": UPLOAD[:-100],
    "an upload without its last byte": UPLOAD[:-10],
    "half a chunk": HEAD + b"5\r\n{",
    "no last chunk": HEAD + b"2\r\n{}\r\n",
    "half an upload in chunks": UPLOAD_HEAD + FIRST_CHUNK,
    "half a compressed body": json_request(gzip.compress(b"{}"), "Content-Encoding: gzip")[:-4],
    "half an interactive request": json_request({"model": "m"}, target="/v1/embeddings")[:-4],
}


@pytest.mark.parametrize("sent", CUTS.values(), ids=CUTS)
def test_a_client_that_leaves_half_way_leaves_nothing(server, sent):
    """Neither bytes nor rows nor a traceback; the fixture looks."""
    with server.connect() as connection:
        connection.sendall(sent)


CHUNKS = {
    "a word": b"zz\r\n",
    "negative": b"-5\r\nhello\r\n",
    "signed": b"+5\r\nhello\r\n",
    "prefixed": b"0x5\r\nhello\r\n",
    "underscored": b"1_0\r\nhello\r\n",
    "empty": b"\r\nhello\r\n",
    "a space": b"5 \x0b\r\nhello\r\n",
    "astronomic": b"f" * 40 + b"\r\n",
    "longer than it says": b"2\r\n{}}}\r\n0\r\n\r\n",
    "a bare line feed": b"5\nhello\n0\n\n",
    "NUL": b"5\x00\r\nhello\r\n",
}


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("head", [HEAD, UPLOAD_HEAD + FIRST_CHUNK], ids=["at once", "mid-upload"])
def test_broken_chunks_end_the_request_at_once(server, head, chunk):
    """One refusal – no 408 for silence –, then the end; nothing is read into what follows."""
    with server.connect() as connection:
        connection.sendall(head + chunk)
        stream = connection.makefile("rb")
        check_refusal(read_answer(stream), Case(b""))
        assert stream.read() == b""


@pytest.mark.parametrize("head", [HEAD, UPLOAD_HEAD + FIRST_CHUNK], ids=["batch", "upload"])
def test_chunks_that_break_later_end_the_request_too(server, head):
    """Also when the handler is already waiting for the next one."""
    with server.connect() as connection:
        connection.sendall(head)
        time.sleep(0.05)  # nothing tells that the handler waits; its patience is longer
        connection.sendall(b"zz\r\n")
        stream = connection.makefile("rb")

        check_refusal(read_answer(stream), Case(b""))
        assert stream.read() == b""


@pytest.mark.parametrize("chunk", [b"0" * 100_000, b"5;" + b"a" * 100_000], ids=["size", "ext"])
def test_a_chunks_head_that_never_ends_does_not_go_on_for_ever(impatient, chunk):
    """It brings no byte of the body, so patience with it ends as with silence."""
    answer = impatient.ask(HEAD + chunk)

    check_refusal(answer, Case(b"", answer.status))
    assert answer.status in {400, 408}


SLOW = {
    "nothing": b"",
    "half a request line": b"GET /v1/fi",
    "half a head": b"GET /v1/files HTTP/1.1\r\nHost: localhost\r\nX-",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_head_that_never_ends_is_cut_off(impatient, sent):
    """Such a connection costs nothing more than its place, and that not for ever."""
    with impatient.connect() as connection:
        connection.sendall(sent)

        assert connection.recv(1) == b""


def test_a_head_that_trickles_is_cut_off(impatient):
    """A byte now and then does not buy more time."""
    with impatient.connect() as connection:
        connection.sendall(b"GET /v1/files HTTP/1.1\r\n")
        with pytest.raises(OSError):
            trickle(connection, b"X: 1\r\n", every_s=IDLE_S / 20, for_s=10 * IDLE_S)


def trickle(connection, piece, *, every_s, for_s):
    end = time.monotonic() + for_s
    wait_until(lambda: connection.sendall(piece) or time.monotonic() > end, every_s=every_s)


STALLS = {
    "a batch": json_request({"input_file_id": "x"})[:-3],
    "a batch in chunks": HEAD + b"2\r\n{",
    "an upload": UPLOAD[:-100],
    "an upload before its first part": UPLOAD[:150],
    "an upload in chunks": UPLOAD_HEAD + FIRST_CHUNK,
    "compressed": json_request(gzip.compress(b"{}"), "Content-Encoding: gzip")[:-4],
}


@pytest.mark.parametrize("sent", STALLS.values(), ids=STALLS)
def test_a_body_that_stops_is_a_408(impatient, sent):
    """And then the end of the connection."""
    impatient.refuses(Case(sent, 408, "stopped arriving or came too slowly.*Send it again"))


@pytest.mark.parametrize(
    "sent",
    [request("POST", "/v1/batches", "Content-Length: 9999", body=b"{"), STALLS["an upload"]],
    ids=["batch", "upload"],
)
def test_a_body_that_trickles_is_a_408(impatient, sent):
    """A byte now and then does not buy more time."""
    with impatient.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(STALL_S / 4)
        for _ in range(100):
            connection.sendall(b" ")
            try:
                first = connection.recv(1, 2)  # only looked at
            except TimeoutError:
                continue
            break

        assert first
        connection.settimeout(PATIENCE_S)
        check_refusal(read_answer(connection.makefile("rb")), Case(b"", 408, "too slowly"))


class TestSeveralRequestsInARow:
    """On one connection."""

    def test_they_are_answered_in_order(self, server):
        """Sent at once, good and bad mixed."""
        sent = [
            request("GET", "/v1/files?limit=1"),
            request("GET", "/v1/nope"),
            json_request(b"nonsense"),
            request("GET", "/v1/batches/x"),
            request("GET", "/health"),
        ]
        with server.connect() as connection:
            connection.sendall(b"".join(sent))
            stream = connection.makefile("rb")
            answers = [read_answer(stream) for _ in sent]

        assert [answer.status for answer in answers] == [200, 404, 400, 404, 200]
        assert len({answer.headers["x-request-id"] for answer in answers}) == len(sent)

    def test_a_thousand_are_answered(self, server):
        """None is lost in a full queue."""
        with server.connect() as connection:
            connection.sendall(request("GET", "/v1/batches/x") * 1000)
            stream = connection.makefile("rb")
            statuses = [read_answer(stream).status for _ in range(1000)]

        assert statuses == [404] * 1000

    def test_after_garbage_nothing_more_is_answered(self, server):
        """What follows may be anything; what came in one piece with it is not answered either."""
        with server.connect() as connection:
            connection.sendall(b"garbage\r\n\r\n" + request("GET", "/v1/files"))
            stream = connection.makefile("rb")

            check_refusal(read_answer(stream), Case(b""))
            assert stream.read() == b""

    @pytest.mark.parametrize("target", ["/v1/batches", "/v1/nope", "/v1/files"])
    def test_a_body_is_never_taken_for_a_request(self, server, target):
        """Also where the handler did not read it."""
        hidden = request("DELETE", "/v1/files/hidden")
        sent = json_request(hidden, target=target) + request("GET", "/health")
        with server.connect() as connection:
            connection.sendall(sent)
            stream = connection.makefile("rb")
            first, second = read_answer(stream), read_answer(stream)

        assert first.status in {400, 404}
        assert (second.status, second.json["status"]) == (200, "ok")

    def test_more_than_the_length_says_is_the_next_request(self, server):
        """And a bad one: that is refused, and the connection ends."""
        sent = request("POST", "/v1/batches", "Content-Length: 2", body=b"{}GARBAGE\r\n\r\n")
        with server.connect() as connection:
            connection.sendall(sent)
            stream = connection.makefile("rb")

            check_refusal(read_answer(stream), Case(b""))
            assert stream.read() == b""

    def test_an_old_client_gets_one_answer(self, server):
        """HTTP/1.0 without keep-alive: the connection ends."""
        with server.connect() as connection:
            connection.sendall(b"GET /v1/files/x HTTP/1.0\r\n\r\n")
            stream = connection.makefile("rb")
            check_refusal(read_answer(stream), Case(b"", 404, "No such File", "id"))
            assert stream.read() == b""


def test_trailers_change_nothing(server):
    """They are read over, and not without bound."""
    body = json.dumps({"endpoint": "x"}).encode()
    chunked = b"%x\r\n%s\r\n0\r\nContent-Length: 5\r\nAuthorization: x\r\n\r\n" % (len(body), body)
    answer = server.ask(HEAD + chunked)

    assert answer.status == 400
    assert server.ask(HEAD + b"0\r\n" + b"X: 1\r\n" * 100_000 + b"\r\n").status == 400
