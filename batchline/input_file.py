"""Checking an input file in one streaming pass: slices of its requests, or every fault by line.

Pure and synchronous: bytes in, slices and faults out, in bounded memory (eight bytes a custom_id).
Codes and texts are those of OpenAI's validation errors. Used by admission; knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from .model import Fault, Slice

SLICE_LINES = 64  # measured: leasing 64 lines at once costs a third of leasing each
SLICE_BYTES = 4 << 20  # a slice's bodies are read in one piece; long lines make short slices
_BOM = b"\xef\xbb\xbf"
_NEEDED = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
}
_UNSET = msgspec.UNSET


class _Line(msgspec.Struct):
    custom_id: msgspec.Raw | msgspec.UnsetType = _UNSET
    method: msgspec.Raw | msgspec.UnsetType = _UNSET
    url: msgspec.Raw | msgspec.UnsetType = _UNSET
    body: msgspec.Raw | msgspec.UnsetType = _UNSET


class _Body(msgspec.Struct):
    model: msgspec.Raw | msgspec.UnsetType = _UNSET
    stream: msgspec.Raw | msgspec.UnsetType = _UNSET
    messages: msgspec.Raw | msgspec.UnsetType = _UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = _UNSET
    input: msgspec.Raw | msgspec.UnsetType = _UNSET


_line_decoder = msgspec.json.Decoder(_Line)
_body_decoder = msgspec.json.Decoder(_Body)
_text_decoder = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one batch may hold, and how many faults are listed."""

    lines: int
    line_bytes: int
    faults: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the whole file came to: faults (if any) in line order; `model` if all share one."""

    total: int
    model: str | None
    faults: tuple[Fault, ...]


class _Bad(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class FileCheck:
    """Feed the file's chunks in order, then `finish`."""

    def __init__(self, batch_seq: int, endpoint: str, limits: Limits) -> None:
        self._batch_seq = batch_seq
        self._endpoint = endpoint
        self._limits = limits
        self._tail = b""
        self._offset = 0
        self._number = 0
        self._total = 0
        self._models: set[str] = set()
        self._faults: list[Fault] = []
        self._dropped = 0
        self._seen: set[int] = set()
        self.suspects: set[int] = set()
        self._run: Slice | None = None

    def feed(self, chunk: bytes) -> list[Slice]:
        """Check the lines that `chunk` completes; return the slices that are full now."""
        head, newline, rest = (self._tail + chunk).rpartition(b"\n")
        if not newline:
            self._tail = rest
            if len(rest) > self._limits.line_bytes:
                self._too_long_so_far()
            return []
        self._tail = rest
        return self._take(head.split(b"\n"))

    def finish(self) -> list[Slice]:
        """Check a last line without a newline; return the slices that remain."""
        slices = self._take([self._tail]) if self._tail else []
        self._tail = b""
        return slices + ([self._run] if self._run else [])

    def report(self, duplicates: Iterable[Fault] = ()) -> Report:
        """Sum up. `duplicates` come from `DuplicateCheck`, where `suspects` is not empty."""
        faults = sorted([*self._faults, *duplicates], key=lambda f: f.line or 0)
        dropped = self._dropped + max(0, len(faults) - self._limits.faults)
        faults = faults[: self._limits.faults]
        if not self._total and not faults:
            faults = [Fault("empty_file", "The input file holds no request.")]
        if dropped:
            message = f"{dropped:,} more faults are not listed; mend these first."
            faults.append(Fault("too_many_errors", message))
        if self._total > self._limits.lines:
            message = (
                f"The file holds more than {self._limits.lines:,} requests, the most allowed "
                "in one batch. Split it."
            )
            faults.append(Fault("too_many_tasks", message))
        model = next(iter(self._models)) if len(self._models) == 1 else None
        return Report(self._total, model, tuple(faults))

    def _take(self, lines: list[bytes]) -> list[Slice]:
        full: list[Slice] = []
        for line in lines:
            self._number += 1
            start, self._offset = self._offset, self._offset + len(line) + 1
            if not line or line.isspace():
                continue
            try:
                self._check(line)
            except _Bad as bad:
                self._add_fault(bad)
                continue
            self._total += 1
            self._extend(start, len(line) + 1, full)
        return full

    def _extend(self, start: int, length: int, full: list[Slice]) -> None:
        run = self._run
        if run is None:
            self._run = Slice(self._batch_seq, self._total - 1, 1, start, length)
            return
        end = start + length - run.offset_bytes
        if run.count < SLICE_LINES and end <= SLICE_BYTES:
            self._run = Slice(run.batch_seq, run.first, run.count + 1, run.offset_bytes, end)
            return
        full.append(run)
        self._run = Slice(self._batch_seq, self._total - 1, 1, start, length)

    def _check(self, line: bytes) -> None:
        if len(line) > self._limits.line_bytes:
            raise _Bad("invalid_request", self._too_long())
        if self._number == 1:
            line = line.removeprefix(_BOM)
        parsed = _decode(line)
        custom_id = _text(parsed.custom_id, "custom_id")
        method = _text(parsed.method, "method")
        url = _text(parsed.url, "url")
        if method != "POST":
            raise _Bad("invalid_method", f"Invalid method: '{method[:50]}'. Use 'POST'.", "method")
        if url != self._endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            raise _Bad("invalid_url", message, "url")
        self._check_body(parsed.body)
        self._note_id(custom_id)

    def _check_body(self, raw: msgspec.Raw | msgspec.UnsetType) -> None:
        if isinstance(raw, msgspec.UnsetType):
            raise _missing("body")
        if _first(raw) != b"{":
            message = f"Invalid type for 'body': expected an object, but got {_kind(raw)} instead."
            raise _Bad("invalid_request", message, "body")
        body = _body_decoder.decode(raw)
        self._models.add(_text(body.model, "body.model"))
        if not isinstance(body.stream, msgspec.UnsetType) and bytes(body.stream) not in (
            b"false",
            b"null",
        ):
            message = "Chat Completions: Streaming is not supported in the Batch API."
            raise _Bad("streaming_unsupported", message, "body.stream")
        needed = _NEEDED.get(self._endpoint)
        if needed and isinstance(getattr(body, needed), msgspec.UnsetType):
            raise _missing(f"body.{needed}")

    def _note_id(self, custom_id: str) -> None:
        mark = hash(custom_id)
        if mark in self._seen:
            self.suspects.add(mark)
        self._seen.add(mark)

    def _add_fault(self, bad: _Bad) -> None:
        if len(self._faults) >= self._limits.faults:
            self._dropped += 1
            return
        self._faults.append(Fault(bad.code, bad.message, self._number, bad.param))

    def _too_long(self) -> str:
        return f"This line is longer than {self._limits.line_bytes:,} bytes, the most allowed."

    def _too_long_so_far(self) -> None:
        # Keep what fits in memory: the fault is certain, the rest of the line is not needed.
        excess = len(self._tail) - self._limits.line_bytes - 1
        self._offset += excess
        self._tail = self._tail[excess:]


class DuplicateCheck:
    """A second pass, only when two hashes were equal: names the custom_ids that really repeat."""

    def __init__(self, suspects: set[int], limits: Limits) -> None:
        self._suspects = suspects
        self._limits = limits
        self._tail = b""
        self._number = 0
        self._seen: set[str] = set()
        self.faults: list[Fault] = []

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Look at the lines that `chunk` completes."""
        lines = (self._tail + chunk).split(b"\n")
        self._tail = b"" if last else lines.pop()
        for line in lines:
            self._number += 1
            if line.strip() and len(line) <= self._limits.line_bytes:
                self._look(line.removeprefix(_BOM) if self._number == 1 else line)
        self._tail = self._tail[-self._limits.line_bytes - 1 :]

    def _look(self, line: bytes) -> None:
        try:
            custom_id = _text(_decode(line).custom_id, "custom_id")
        except _Bad:
            return
        if hash(custom_id) not in self._suspects:
            return
        if custom_id in self._seen and len(self.faults) <= self._limits.faults:
            shown = custom_id if len(custom_id) <= 512 else custom_id[:512] + "…"  # noqa: PLR2004
            message = (
                f"The custom_id '{shown}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            self.faults.append(Fault("duplicate_custom_id", message, self._number, "custom_id"))
        self._seen.add(custom_id)


def _decode(line: bytes) -> _Line:
    try:
        line.decode("utf-8")
        return _line_decoder.decode(line)
    except msgspec.ValidationError as exc:
        message = "This line is valid JSON, but not an object with custom_id, method, url and body."
        raise _Bad("invalid_request", message) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _Bad("invalid_json_line", "This line is not parseable as valid JSON.") from exc


def _text(raw: msgspec.Raw | msgspec.UnsetType, name: str) -> str:
    if isinstance(raw, msgspec.UnsetType):
        raise _missing(name)
    try:
        return _text_decoder.decode(raw)
    except msgspec.ValidationError as exc:
        message = f"Invalid type for '{name}': expected a string, but got {_kind(raw)} instead."
        raise _Bad("invalid_request", message, name) from exc
    except msgspec.DecodeError as exc:
        raise _Bad("invalid_json_line", "This line is not parseable as valid JSON.") from exc


def _missing(name: str) -> _Bad:
    short = name.removeprefix("body.")
    return _Bad("missing_required_parameter", f"Missing required parameter: '{short}'.", name)


def _kind(raw: msgspec.Raw) -> str:
    words = {b"{": "an object", b"[": "an array", b'"': "a string", b"n": "null"}
    return words.get(_first(raw)) or ("a boolean" if _first(raw) in (b"t", b"f") else "a number")


def _first(raw: msgspec.Raw) -> bytes:
    return memoryview(raw)[:1].tobytes()
