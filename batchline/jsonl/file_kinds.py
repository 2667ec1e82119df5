"""Recognizes files that are no JSON Lines by their first bytes, and says how to convert them. Pure.

Used only after the first request of a file was found bad.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

HEAD_BYTES = 4096
"""How many bytes of a file decide."""

_BOM = b"\xef\xbb\xbf"
_CUT_CHARACTERS = 8  # what the end of the head may cut in two: `false`, `\u00e9`
_SEPARATORS = ",;\t|"
_COLUMN = re.compile(r"\s*\"?[A-Za-z_][\w .-]{0,60}\"?\s*")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file, and how to convert it to JSON Lines."""

    name: str
    remedy: str

    def __str__(self) -> str:
        """Say it in two sentences."""
        return f"The file looks like {self.name}. {self.remedy}"


_PACKED = "Send it under a name that ends in .jsonl{0}, or unpack it: {1} OLD > NEW"
_MAGIC = (
    (b"\x1f\x8b", Kind("gzip data", _PACKED.format(".gz", "gzip -dc"))),
    (b"\x28\xb5\x2f\xfd", Kind("zstd data", _PACKED.format(".zst", "zstd -dc"))),
    (
        b"PK\x03\x04",
        Kind(
            "a ZIP archive, such as an Excel workbook", "Unpack the file in it: unzip -p OLD > NEW"
        ),
    ),
    (b"BZh", Kind("bzip2 data", "Unpack it: bzip2 -dc OLD > NEW")),
    (b"\xfd7zXZ\x00", Kind("xz data", "Unpack it: xz -dc OLD > NEW")),
    (b"PAR1", Kind("a Parquet file", "Write its rows as JSON, one request a line.")),
)
_PAGE = Kind(
    "a page of HTML or XML",
    "Perhaps an error or a login was saved in place of the file: fetch it again.",
)
_ARRAY = Kind("a JSON array", "Write one request a line: jq -c '.[]' OLD > NEW")
_SPREAD = Kind("JSON over several lines", "Write one request a line: jq -c . OLD > NEW")
_PYTHON = Kind("Python's print of a dict", "Write it with json.dumps, one request a line.")
_TABLE = Kind(
    "a table (CSV)", "Write each row as a JSON object with custom_id, method, url and body."
)


def file_kind(head: bytes) -> Kind | None:
    """Return the kind of file that begins so; None if it may be JSON Lines, or is of no known kind."""
    head = head.removeprefix(_BOM).lstrip()
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    text = head[:HEAD_BYTES].decode("utf-8", "ignore")
    first, _, rest = text.partition("\n")
    match text[:1]:
        case "<":
            return _PAGE
        case "[":
            end = _end_of_json(text)
            is_all = end is not None and not text[end:].strip()
            return _ARRAY if is_all or _is_beyond(end, first) else None
        case "{":
            if text.startswith(("{'", "{ '")):
                return _PYTHON
            goes_on = rest.lstrip()[:1] not in (
                "",
                "{",
            )  # a line of its own: the first was cut short
            return _SPREAD if goes_on and _is_beyond(_end_of_json(text), first) else None
        case _:
            return _TABLE if _is_table(first, rest.lstrip().partition("\n")[0]) else None


def _end_of_json(text: str) -> int | None:
    """Return where the JSON at the start of `text` ends, the length if it is cut; None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except RecursionError:
        return None
    except json.JSONDecodeError as exc:
        is_cut = exc.pos >= len(text) - _CUT_CHARACTERS or exc.msg.startswith("Unterminated string")
        return len(text) if is_cut else None


def _is_beyond(end: int | None, first: str) -> bool:
    return end is not None and end > len(first.rstrip())


def _is_table(first: str, second: str) -> bool:
    """Whether the first line holds names and the next one as many separators."""
    for separator in _SEPARATORS:
        columns = first.split(separator)
        if len(columns) > 1 and all(map(_COLUMN.fullmatch, columns)):
            return second.count(separator) >= len(columns) - 1
    return False
