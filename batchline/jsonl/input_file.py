"""Checking an input file in one streaming pass: slices of its requests, or every fault by line.

Pure and synchronous: bytes in, slices and faults out, in bounded memory (eight bytes a custom_id).
`line_check.py` checks the lines. Used by admission; knows no store.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchline.model import Fault, Slice
from batchline.states import OnFaults

from .file_kinds import HEAD_BYTES, Kind, file_kind
from .line_check import (
    REFUSED,
    Rules,
    another_model,
    duplicate,
    examine,
    good_decoder,
    is_utf8,
    too_long,
    unknown_model,
)

SLICE_LINES = 64  # measured: leasing 64 lines at once costs a third of leasing each
SLICE_BYTES = 4 << 20  # a slice's bodies are read in one piece; long lines make short slices
_BOM = b"\xef\xbb\xbf"
_BUCKETS = 64  # the marks of custom_ids are searched for equal ones a bucket at a time


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one batch may hold, and how many faults are listed."""

    lines: int
    line_bytes: int
    faults: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of the check: faults (if any) in line order; `model` if all lines share one.

    `total` counts the requests that were read, good and bad ones.
    """

    total: int
    model: str | None
    faults: tuple[Fault, ...]


class Faults:
    """The first faults of a pass, and how many more there were."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.listed: list[Fault] = []
        self.dropped = 0

    def add(self, fault: Fault, line: int) -> None:
        """Take note of one, in line order."""
        if len(self.listed) >= self._most:
            self.dropped += 1
        else:
            self.listed.append(replace(fault, line=line))


class FileCheck:
    """Feed the file's chunks in order until `is_full`, then `finish`."""

    def __init__(self, batch_seq: int, rules: Rules, limits: Limits) -> None:
        self._batch_seq = batch_seq
        self._rules = rules
        self._limits = limits
        self._decode = good_decoder(rules.endpoint, rules.body)
        self._tail = b""
        self._offset = 0
        self._number = 0
        self._requests = 0
        self._model: str | None = None
        self._fine_model: str | None = None
        self._is_mixed = False
        self._faults = Faults(limits.faults)
        self._marks = [array("q") for _ in range(_BUCKETS)]
        self._run_first = self._run_start = self._run_end = 0
        self._head = b""
        self._first_line = 0
        """The number of the first line that is not blank."""

    @property
    def size_bytes(self) -> int:
        """Bytes fed so far."""
        return self._offset + len(self._tail)

    @property
    def is_full(self) -> bool:
        """True once the file holds more requests than allowed: the rest need not be read."""
        return self._requests > self._limits.lines

    def feed(self, chunk: bytes) -> list[Slice]:
        """Check the lines that `chunk` completes; return the slices that are full now."""
        head, newline, rest = (self._tail + chunk).rpartition(b"\n")
        self._tail = rest
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + chunk[:HEAD_BYTES]).lstrip()[:HEAD_BYTES]
        if len(rest) > self._limits.line_bytes:
            self._cut_tail()
        return self._take(head) if newline else []

    def finish(self) -> list[Slice]:
        """Check a last line without a newline; return the slices that remain."""
        slices = self._take(self._tail) if self._tail and not self.is_full else []
        self._tail = b""
        if self._requests > self._run_first:
            slices.append(self._close_run(self._requests))
        return slices

    def shared_marks(self) -> set[int]:
        """Return the marks that several custom_ids share: `DuplicateCheck` tells if they repeat."""
        found: set[int] = set()
        for bucket in self._marks:
            if len(set(bucket)) < len(bucket):
                seen: set[int] = set()
                found.update(m for m in bucket if m in seen or seen.add(m))  # type: ignore[func-returns-value]
        return found

    def report(self, duplicates: Faults | None = None) -> Report:
        """Return the result. `duplicates` come from `DuplicateCheck`, where marks are shared."""
        lists = [self._faults, duplicates or Faults(0)]
        faults = sorted((f for found in lists for f in found.listed), key=lambda f: f.line or 0)
        dropped = sum(found.dropped for found in lists) + max(0, len(faults) - self._limits.faults)
        faults = faults[: self._limits.faults]
        if faults and (kind := self._kind(faults[0])):
            faults[0] = replace(faults[0], message=f"{faults[0].message} {kind}")
        if not self._requests:
            faults.append(Fault("empty_file", "The input file holds no request."))
        if dropped:
            message = f"{dropped:,} more faults are not listed; mend these first."
            faults.append(Fault("too_many_errors", message))
        if self.is_full:
            message = (
                f"The file holds more than {self._limits.lines:,} requests, the most allowed "
                "in one batch. Split it; the lines beyond were not checked."
            )
            faults.append(Fault("too_many_tasks", message))
        model = None if self._is_mixed else self._model
        return Report(self._requests, model, tuple(faults))

    def _kind(self, first: Fault) -> Kind | None:
        """Say what kind of file it is instead, if its whole first line is wrong."""
        is_whole_line = first.line == self._first_line and first.param is None
        return file_kind(self._head) if is_whole_line else None

    def _take(self, block: bytes) -> list[Slice]:
        """Check whole lines: the hot loop of validation."""
        full: list[Slice] = []
        sound = is_utf8(block)  # once for all lines instead of for each
        most_lines, most_bytes = self._limits.lines, self._limits.line_bytes
        for line in block.split(b"\n"):
            self._number += 1
            start, self._offset = self._offset, self._offset + len(line) + 1
            text = line if self._number > 1 else line.removeprefix(_BOM)
            if not text or text.isspace():
                continue
            if self._requests > most_lines:
                break
            if len(text) > most_bytes:
                self._faults.add(too_long(most_bytes), self._number)
            else:
                self._check(text, sound=sound)
            self._extend(start, full)
        return full

    def _check(self, line: bytes, *, sound: bool) -> None:
        try:
            good = self._decode(line)
        except REFUSED:
            good = None
        if good is None or good.body.stream or not (sound or is_utf8(line)):
            self._examine(line)
            return
        mark = hash(good.custom_id)
        self._marks[mark % _BUCKETS].append(mark)
        if good.body.model != self._fine_model:
            self._note_model(good.body.model)

    def _examine(self, line: bytes) -> None:
        found = examine(line, self._rules)
        if self._rules.on_faults is OnFaults.FAIL_BATCH:
            for fault in found.faults:
                self._faults.add(fault, self._number)
        if found.custom_id is not None:
            mark = hash(found.custom_id)
            self._marks[mark % _BUCKETS].append(mark)
        if found.model is not None:
            self._note_model(found.model)

    def _note_model(self, model: str) -> None:
        if self._model is None:
            self._model = model
        is_other = model != self._model
        self._is_mixed |= is_other
        if self._rules.served is not None and model not in self._rules.served:
            self._faults.add(unknown_model(model), self._number)
        elif is_other and self._rules.one_model:
            self._faults.add(another_model(model), self._number)
        elif not is_other:
            self._fine_model = model

    def _extend(self, start: int, full: list[Slice]) -> None:
        """Add the request that begins at `start` (and ends at the offset) to the running slice."""
        held = self._requests - self._run_first
        if held and (held >= SLICE_LINES or self._offset - self._run_start > SLICE_BYTES):
            full.append(self._close_run(self._requests))
            held = 0
        if not held:
            self._run_first, self._run_start = self._requests, start
            self._first_line = self._first_line or self._number
        self._run_end = self._offset
        self._requests += 1

    def _close_run(self, stop: int) -> Slice:
        first, self._run_first = self._run_first, stop
        length = self._run_end - self._run_start
        return Slice(self._batch_seq, first, stop - first, self._run_start, length)

    def _cut_tail(self) -> None:
        # Keep what fits in memory: the fault is certain, the rest of the line is not needed.
        excess = len(self._tail) - self._limits.line_bytes - 1
        self._offset += excess
        self._tail = self._tail[excess:]


class DuplicateCheck:
    """A second pass, only if two marks were equal: finds the custom_ids that do repeat."""

    def __init__(self, marks: Iterable[int], rules: Rules, limits: Limits) -> None:
        self._marks = frozenset(marks)
        self._rules = rules
        self._decode = good_decoder(rules.endpoint, rules.body)
        self._limits = limits
        self._tail = b""
        self._number = 0
        self._seen: set[str] = set()
        self.faults = Faults(limits.faults)

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Look at the lines that `chunk` completes."""
        lines = (self._tail + chunk).split(b"\n")
        self._tail = b"" if last else lines.pop()
        for line in lines:
            self._number += 1
            text = line if self._number > 1 else line.removeprefix(_BOM)
            if text.strip() and len(text) <= self._limits.line_bytes:
                self._look(text)
        self._tail = self._tail[-self._limits.line_bytes - 1 :]

    def _look(self, line: bytes) -> None:
        custom_id = self._custom_id(line)
        if custom_id is None or hash(custom_id) not in self._marks:
            return
        if custom_id in self._seen:
            self.faults.add(duplicate(custom_id), self._number)
        self._seen.add(custom_id)

    def _custom_id(self, line: bytes) -> str | None:
        try:
            good = self._decode(line)
        except REFUSED:
            good = None
        if good is not None and is_utf8(line):
            custom_id: str = good.custom_id
            return custom_id
        return examine(line, self._rules).custom_id
