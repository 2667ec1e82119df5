"""Recognizes text that is not UTF-8 by its first bytes, and byte order marks in wrong places. Pure.

Windows programs write UTF-16 by default (`>` in PowerShell, "Unicode" in editors). Other encodings cannot be
recognized for certain: then each line is checked by itself.
"""

from __future__ import annotations

import re

HEAD_BYTES = 4
"""How many bytes decide."""

_MARKS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (b"\xff\xfe\x00\x00", "UTF-32LE"),
    (b"\x00\x00\xfe\xff", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16LE"),
    (b"\xfe\xff", "UTF-16BE"),
)
_UTF8_MARK = b"\xef\xbb\xbf"
_GLUED = re.compile(rb"\}\s*\xef\xbb\xbf\s*\{")
_NO_MARK, _PARTED = r"s/^(\xEF\xBB\xBF)+//", r"s/\}\s*\xEF\xBB\xBF\s*\{/}\n{/g"
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
}
"""Which bytes are zero, since JSON begins with two ASCII characters (RFC 4627 §3); in UTF-8 none is."""


def foreign_encoding(head: bytes | bytearray) -> str | None:
    """Name the encoding of JSON Lines that begin with these bytes; None for UTF-8, or if in doubt."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    return _ZEROS.get(tuple(byte == 0 for byte in head[:HEAD_BYTES]))


def misplaced_mark(line: bytes | bytearray) -> str | None:
    """Say that a line that is no JSON has a byte order mark in a wrong place; None if it has none."""
    text = line.lstrip(b" \t\r")
    if text.startswith(_UTF8_MARK):
        return (
            "It begins with a byte order mark (the bytes EF BB BF), which only a file may, once: files "
            f"were perhaps joined. Remove it: perl -pe '{_NO_MARK}' OLD > NEW"
        )
    if _GLUED.search(text):
        return (
            "It holds a byte order mark (the bytes EF BB BF) before an object: files were perhaps joined "
            f"without a line end between. Part them: perl -pe '{_PARTED}' OLD > NEW"
        )
    for mark, name in _MARKS:
        if text.startswith(mark):
            return f"It begins with the byte order mark of {name}: convert each file before they are joined."
    return None


def not_utf8(name: str) -> str:
    """Say what is wrong with such a file, and how to mend it."""
    return f"It is {name}, but must be UTF-8. Convert it: iconv -f {name} -t UTF-8 OLD > NEW"
