"""The lines of a batch that did not succeed, picked out of its input file for a retry.

Pure; bytes in, bytes out, in memory of one bit a line. Used by the gateway.
"""

from __future__ import annotations

from batchline.jsonl.result_lines import record_index

_BOM = b"\xef\xbb\xbf"


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
