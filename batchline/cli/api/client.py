"""The client of the Files and Batches API: one httpx connection pool, errors as `Failure`.

The client commands use HTTP only through it. Bodies stream both ways. It never retries: commands that wait
for long do (`watch`, `results`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, Self
from uuid import uuid4

import httpx

from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean
from batchline.config.api_keys import ALLOWED, flaw_of
from batchline.config.server_url import without_endpoint, without_secrets
from batchline.states import BatchStatus, OnFailures

from .batch import ApiBatch, Json, read_batch

_CONNECT_S = 10.0
_READ_S = 600.0  # a large upload is answered only when the server has it on disk
_SILENCE_S = 60.0  # a batch that is followed sends at least a blank line every 15 s
_PAGE = 100
_MAX_MESSAGE = 2000
_IDENTITY = re.compile(r"[A-Za-z0-9_-]+")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


class Broken(Failure):
    """The connection broke off half-way: another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Content:
    """A download under way: `start` is the offset of the first byte that `chunks` yields."""

    start: int
    total_bytes: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A batch to create, without its input."""

    endpoint: str
    window: str
    metadata: Mapping[str, str]
    on_failures: OnFailures | None
    """None: the server's setting applies."""
    callback_url: str | None = None
    """Where its end is told, beside the webhook endpoints."""


class Client:
    """Speaks to one gateway. Use as a context manager."""

    def __init__(self, url: str, api_key: str | None = None, *, read_s: float = _READ_S) -> None:
        address = base_url(url)
        self.url = without_secrets(address)
        """Without secrets, to be shown."""
        if api_key and (flaw := flaw_of(api_key)):
            raise Failure(
                f"The API key {flaw}.",
                why=f"Allowed are {ALLOWED}.",
                remedy="correct BATCHLINE_API_KEY or --api-key",
            )
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=address,
            headers=headers,
            timeout=httpx.Timeout(read_s, connect=_CONNECT_S),
            trust_env=False,  # the gateway is near: proxies of the environment are meant for other servers
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **kwargs: Any) -> Json:
        """Send one request and return the JSON object that is answered. `kwargs` are httpx's."""
        with self._translated():
            answer = self._http.request(method, path, **kwargs)
        if answer.is_error:
            raise _refusal(answer)
        body = _decoded(answer)
        if body is None:
            raise Failure(
                f"{self.url} answered something that is not the batch API.",
                remedy="check --url: it names the gateway, such as http://gpu-box:5000",
                code=ExitCode.UNREACHABLE,
            )
        return body

    def batch(self, batch_id: str) -> ApiBatch:
        """Return one batch. Raises Failure if there is none."""
        return read_batch(self.ask("GET", f"/v1/batches/{segment(batch_id)}"))

    def batches(self, statuses: Collection[BatchStatus] = ()) -> Iterator[ApiBatch]:
        """Yield the batches in `statuses` (none: all), newest first, a page at a time."""
        wanted = [("status", str(status)) for status in sorted(statuses)]
        after: str | None = None
        while True:
            params = [("limit", str(_PAGE)), *wanted, *([("after", after)] if after else [])]
            page = self.ask("GET", "/v1/batches", params=params)
            items = [read_batch(raw) for raw in page.get("data") or []]
            # Other servers than batchline ignore `status`.
            yield from (b for b in items if not statuses or b.status in statuses)
            if not items or page.get("has_more") is not True:
                return
            after = items[-1].id

    def create_batch(self, file_id: str, wanted: Wanted) -> ApiBatch:
        """Create a batch over an uploaded file."""
        body: Json = {
            "input_file_id": file_id,
            "endpoint": wanted.endpoint,
            "completion_window": wanted.window,
        }
        if wanted.metadata:
            body["metadata"] = dict(wanted.metadata)
        if wanted.on_failures is not None:
            body["on_failures"] = wanted.on_failures.value
        if wanted.callback_url is not None:
            body["callback_url"] = wanted.callback_url
        return read_batch(self.ask("POST", "/v1/batches", json=body))

    def cancel(self, batch_id: str) -> ApiBatch:
        """Cancel a batch. Raises Failure if it has ended otherwise."""
        return read_batch(self.ask("POST", f"/v1/batches/{segment(batch_id)}/cancel"))

    def steer(self, batch_id: str, verb: Literal["pause", "resume", "finalize"]) -> ApiBatch:
        """Pause, resume or finalize a batch. Raises Failure where its status forbids it."""
        return read_batch(self.ask("POST", f"/v1/batches/{segment(batch_id)}/{verb}"))

    def retry(self, batch_id: str, *, window: str | None, metadata: Mapping[str, str]) -> ApiBatch:
        """Create a batch of the lines that did not succeed."""
        body: Json = {"metadata": dict(metadata)}
        if window is not None:
            body["completion_window"] = window
        return read_batch(self.ask("POST", f"/v1/batches/{segment(batch_id)}/retry", json=body))

    def delete_batch(self, batch_id: str) -> Json:
        """Delete a batch that has ended, with its files."""
        return self.ask("DELETE", f"/v1/batches/{segment(batch_id)}")

    @contextmanager
    def result_lines(
        self,
        batch_id: str,
        kind: Literal["results", "errors"],
        *,
        after: int = 0,
        follow: bool = False,
    ) -> Iterator[Iterator[bytes]]:
        """Stream the lines that finished after the `after`-th, without their newlines.

        Raises Broken where the transfer stops early; what was yielded is whole.
        """
        params = {"after_line": str(after)} | ({"follow": "true"} if follow else {})
        path = f"/v1/batches/{segment(batch_id)}/{kind}"
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        with (
            self._translated(),
            self._http.stream("GET", path, params=params, timeout=timeout) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield _lines(answer.iter_bytes())

    def file(self, file_id: str) -> Json:
        """Return one file's object."""
        return self.ask("GET", f"/v1/files/{segment(file_id)}")

    def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        self.ask("DELETE", f"/v1/files/{segment(file_id)}")

    def upload(self, chunks: Iterable[bytes], *, size_bytes: int | None, filename: str) -> Json:
        """Upload a batch input file from a stream; `size_bytes` is None where unknown."""
        boundary = uuid4().hex
        head, tail = _multipart(boundary, filename)
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        if size_bytes is not None:
            headers["content-length"] = str(len(head) + size_bytes + len(tail))
        return self.ask("POST", "/v1/files", content=_wrapped(head, chunks, tail), headers=headers)

    @contextmanager
    def content(self, file_id: str, *, offset: int = 0) -> Iterator[Content]:
        """Stream a file's bytes from `offset` on, or from 0 where the server cannot skip.

        Raises Broken where the transfer stops early.
        """
        # Ranges count stored bytes, so nothing may be compressed on the way.
        headers = {"accept": "*/*", "accept-encoding": "identity"}
        if offset:
            headers["range"] = f"bytes={offset}-"
        path = f"/v1/files/{segment(file_id)}/content"
        with self._translated(), self._http.stream("GET", path, headers=headers) as answer:
            start, total = _extent(answer)
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                yield Content(offset, total, iter(()))
                return
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield Content(start, total, answer.iter_raw())

    def probe(self, path: str) -> tuple[int, Any]:
        """Return the status of what `path` answers, and its body: JSON where it is JSON, else text."""
        with self._translated():
            answer = self._http.get(path)
            try:
                return answer.status_code, answer.json()
            except ValueError:
                return answer.status_code, answer.text

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            raise Failure(
                f"No server answers at {self.url}.",
                why=clean(str(exc)),
                remedy="start it with 'batchline serve' or 'batchline up', or name it with --url"
                " or BATCHLINE_URL",
                code=ExitCode.UNREACHABLE,
            ) from exc
        except (httpx.TransportError, httpx.DecodingError) as exc:
            raise Broken(
                f"The connection to {self.url} broke off.",
                why=clean(str(exc)) or type(exc).__name__,
                remedy="try again; 'batchline doctor' looks for the cause",
                code=ExitCode.UNREACHABLE,
            ) from exc


def base_url(given: str) -> str:
    """Return the gateway's address without paths of requests. Raises Failure if it is none."""
    url = without_endpoint(given.strip())
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in {"http", "https"} and bool(parsed.host)
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise Failure(
            f"{clean(without_secrets(given))!r} is not the address of a server.",
            remedy="write it like http://gpu-box:5000",
        )
    return url


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    tail = b""
    for chunk in chunks:
        *lines, tail = (tail + chunk).split(b"\n")
        yield from filter(None, lines)  # blank lines only keep the connection open


def segment(identity: str) -> str:
    """Return an id as a part of a path. Raises Failure where it is none."""
    if not _IDENTITY.fullmatch(identity):
        raise Failure(f"{clean(identity, limit=80)!r} is not an id.", remedy="batchline ls")
    return identity


def _multipart(boundary: str, filename: str) -> tuple[bytes, bytes]:
    # Percent-escapes as browsers do it (WHATWG, multipart/form-data encoding algorithm).
    safe = filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return head.encode("utf-8", "replace"), f"\r\n--{boundary}--\r\n".encode()


def _wrapped(head: bytes, chunks: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from chunks
    yield tail


def _extent(answer: httpx.Response) -> tuple[int, int | None]:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if found:
        return int(found[1] or 0), int(found[2])
    length = answer.headers.get("content-length", "")
    return 0, int(length) if length.isdigit() else None


def _decoded(answer: httpx.Response) -> Json | None:
    try:
        body = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return body if isinstance(body, dict) else None


def _refusal(answer: httpx.Response) -> Failure:
    error = (_decoded(answer) or {}).get("error")
    fields = error if isinstance(error, dict) else {}
    message, param = fields.get("message"), fields.get("param")
    why = clean(str(message), limit=_MAX_MESSAGE) if message else clean(answer.reason_phrase)
    if param and str(param) not in why:
        why = f"{clean(str(param), limit=100)}: {why}"
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Failure(
            "The server wants its API key.",
            why=why,
            remedy="set BATCHLINE_API_KEY, or give --api-key",
        )
    if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure(
            f"The server cannot serve this at present ({answer.status_code}).",
            why=why,
            remedy="'batchline doctor' looks for the cause",
            code=ExitCode.UNREACHABLE,
        )
    return Failure(f"The server refused this ({answer.status_code}).", why=why)
