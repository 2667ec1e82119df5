"""Requests byte by byte, as no HTTP client would send them, and what must hold for every refusal."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from dataclasses import dataclass, field

from waiting import wait_until

PATIENCE_S = 60
STALL_S = 0.6  # the impatient server's patience with a body
IDLE_S = 3.0  # and with a head: more than a crowded machine takes to read one
MAX_FILE_BYTES = 100_000
MAX_LINE_BYTES = 50_000
KEYS = ["message", "type", "param", "code"]


def request(method="GET", target="/v1/files", *headers, body=b"", host=True):
    """Write one request; Content-Length is added for a body unless some framing header is given."""
    lines = [f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")]
    if host:
        lines.append(b"Host: localhost")
    lines += [h if isinstance(h, bytes) else h.encode() for h in headers]
    names = {line.partition(b":")[0].strip().lower() for line in lines}
    if body and not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def json_request(body, *headers, method="POST", target="/v1/batches"):
    """Write a request with a JSON body: bytes as they are, anything else encoded."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(method, target, "Content-Type: application/json", *headers, body=raw)


def part(name, content, filename=None, *headers):
    """Write one part of a form, without boundaries."""
    given = f'; filename="{filename}"' if filename is not None else ""
    lines = [f'Content-Disposition: form-data; name="{name}"{given}', *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def form(*parts, boundary="b", headers=(), target="/v1/files", tail=b"--b--\r\n"):
    """Write an upload; `parts` are bytes between boundaries."""
    body = b"".join(b"--b\r\n" + p + b"\r\n" for p in parts) + tail
    type_ = f"Content-Type: multipart/form-data; boundary={boundary}"
    return request("POST", target, type_, *headers, body=body)


@dataclass
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


@dataclass
class Case:
    """One bad request and how it must be refused. `says` is a pattern in the message."""

    sent: bytes
    status: int = 400
    says: str = "."
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """The gateway's process and where its traces are."""

    address: tuple[str, int]
    folder: object
    log: object
    process: object

    @property
    def url(self):
        return "http://{}:{}".format(*self.address)

    def connect(self):
        return socket.create_connection(self.address, timeout=PATIENCE_S)

    def ask(self, sent):
        """Send one request whole and return its answer."""
        with self.connect() as connection:
            connection.sendall(sent)
            return read_answer(connection.makefile("rb"))

    def refuses(self, case):
        """Send the case's request and check its refusal."""
        answer = self.ask(case.sent)
        check_refusal(answer, case)
        return answer

    def kept(self):
        """Return what is stored: the number of files on disk and of rows that the API lists."""
        blobs = [p for p in self.folder.joinpath("data", "blobs").rglob("*") if p.is_file()]
        return len(blobs), *(self._listed(f"/v1/{what}") for what in ("files", "batches"))

    def settles_at(self, expected):
        """Wait until exactly `expected` is stored (an upload that was cut off is dropped soon)."""
        wait_until(
            lambda: self.kept() == expected,
            within_s=PATIENCE_S,
            saw=lambda: f"left behind: {self.kept()}, not {expected}",
        )

    def _listed(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return len(json.load(answer)["data"])


def read_answer(stream):
    """Read one answer from a socket's file; None at its end. Interim answers are skipped."""
    line = stream.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value.strip()
    if status == 100:
        return read_answer(stream)
    length = int(headers.get("content-length", 0))
    body = stream.read(length)
    assert len(body) == length, "the answer is cut short"
    return Answer(status, headers, body)


def check_refusal(answer, case):
    """Hold an answer against what every refusal must be, and against the case."""
    assert answer is not None, "the connection was closed without a word"
    assert answer.status == case.status, answer
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"].startswith("req_")
    assert list(answer.json) == ["error"]
    error = answer.error
    assert list(error) == KEYS
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["message"], str)
    assert re.search(case.says, error["message"]), error["message"]
    assert len(error["message"]) < 2000, "a message is for people"
    assert (error["param"], error["code"]) == (case.param, case.code)
    for name, value in case.headers.items():
        assert answer.headers[name] == value
    for word in ("Traceback", "aiohttp", "msgspec", "sqlite", ".py", "line 1 "):
        assert word not in error["message"]
