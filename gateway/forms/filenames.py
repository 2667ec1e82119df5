"""The names of uploaded files, as clients give them and as they are kept. Pure."""

from __future__ import annotations

import re

from batchline.jsonl.compression import split_ending

_NAMELESS = "upload"
_FOLDER = re.compile(r"[/\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def clean_filename(name: str) -> str:
    """Return the last path component without control characters; `upload` if nothing is left."""
    # Bytes that are not UTF-8 arrive as surrogates, which databases and JSON cannot hold.
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    last = _FOLDER.split(_CONTROL.sub("", text))[-1].strip()
    return _NAMELESS if last in {"", ".", ".."} else last


def unpacked_filename(filename: str) -> str:
    """Return the name of what a .gz or .zst file unpacks to."""
    return split_ending(filename)[0] or _NAMELESS
