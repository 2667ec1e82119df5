"""Retrying a batch: the body of the request, and the choice of the lines that did not succeed.

Pure; bytes in, bytes out, in memory of one bit a line. Used by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchline.api import bodies, parameters
from batchline.errors import Invalid
from batchline.jsonl.lines import record_index

RETRY_OF = "retry_of"
_BOM = b"\xef\xbb\xbf"
_SUFFIX = "_retry"


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """The checked body of `POST /v1/batches/{id}/retry`; None: as the original has it."""

    completion_window: str | None
    window_s: int | None
    metadata: Mapping[str, str | None]


def read_retry_request(body: bytes, *, min_window_s: int) -> RetryRequest:
    """Decode and check the body; an empty one is fine. Unknown fields are ignored. Raises Invalid."""
    fields = parameters.json_object(body) if body.strip() else {}
    window, seconds = fields.get("completion_window"), None
    if window is not None:
        window = parameters.string(window, param="completion_window")
        seconds = bodies.window_seconds(window, lowest_s=min_window_s)
    given = fields.get("metadata")
    pairs = {} if given is None else parameters.mapping(given, param="metadata")
    bodies.metadata({key: text for key, text in pairs.items() if text is not None})
    return RetryRequest(window, seconds, pairs)


def merged_metadata(
    original: Mapping[str, str] | None, given: Mapping[str, str | None], *, batch_id: str
) -> dict[str, str]:
    """Return the original's metadata with the given changes (null removes a key), and the link.

    Raises Invalid if they are too many.
    """
    pairs = {**(original or {}), **given, RETRY_OF: batch_id}
    merged = {key: text for key, text in pairs.items() if text is not None}
    if len(merged) > bodies.MAX_METADATA_PAIRS:
        raise Invalid(
            f"Invalid 'metadata': too many properties. With '{RETRY_OF}' and the original's there "
            f"are {len(merged)}, but at most {bodies.MAX_METADATA_PAIRS} are allowed. Take some "
            'away: {"metadata": {"<key>": null}}.',
            param="metadata",
            code="object_above_max_properties",
        )
    return merged


def retry_filename(filename: str) -> str:
    """Name the file of a retry after the original: `in.jsonl` gives `in_retry.jsonl`, once."""
    stem, dot, ending = filename.rpartition(".")
    if not dot:
        stem, ending = filename, ""
    return f"{stem.removesuffix(_SUFFIX)}{_SUFFIX}{dot}{ending}"


class Picked:
    """Which requests of a batch to send again: those that its error file answers."""

    def __init__(self, total: int) -> None:
        self._bits = bytearray(total // 8 + 1)
        self._tail = b""
        self.count = 0

    def feed(self, chunk: bytes) -> None:
        """Note the lines of the error file that `chunk` completes."""
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        for line in lines:
            index = record_index(line)
            self._bits[index >> 3] |= 1 << (index & 7)
        self.count += len(lines)

    def __contains__(self, index: int) -> bool:
        return bool(self._bits[index >> 3] & 1 << (index & 7))


class Picker:
    """Feed the input file's chunks in order, then `finish`; returns the picked lines unchanged."""

    def __init__(self, picked: Picked) -> None:
        self._picked = picked
        self._tail = b""
        self._index = 0
        self._is_first = True
        self.count = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return the picked ones among the lines that `chunk` completes."""
        head, newline, rest = (self._tail + chunk).rpartition(b"\n")
        self._tail = rest
        return self._pick(head.split(b"\n")) if newline else b""

    def finish(self) -> bytes:
        """Return the last line, if it is picked and had no newline."""
        return self._pick([self._tail])

    def _pick(self, lines: list[bytes]) -> bytes:
        if self._is_first:
            lines[0] = lines[0].removeprefix(_BOM)
            self._is_first = False
        found = []
        for line in lines:
            if not line or line.isspace():
                continue
            if self._index in self._picked:
                found.append(line + b"\n")
            self._index += 1
        self.count += len(found)
        return b"".join(found)
