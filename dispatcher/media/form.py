"""Forms with one file, as bytes (RFC 7578). Pure."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from batchline.jsonl.audio_lines import FILE

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""WHATWG HTML, multipart/form-data encoding."""
_TYPE_CHARS = frozenset(string.ascii_lowercase + string.digits + ".+-/")
_ANY_TYPE = "application/octet-stream"
_LONGEST_SUFFIX = 6
_SUFFIXES = {
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "audio/m4a": ".m4a",
    "audio/x-m4a": ".m4a",
    "audio/mp4": ".m4a",
    "audio/mp3": ".mp3",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/wave": ".wav",
    "audio/x-wav": ".wav",
    "audio/webm": ".webm",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and behind the file of a form. `boundary` must not occur in the file."""

    boundary: str
    head: bytes
    tail: bytes

    @property
    def content_type(self) -> str:
        """The value of the header."""
        return f"multipart/form-data; boundary={self.boundary}"


def frame(
    fields: Iterable[tuple[str, str]], *, boundary: str, media_type: str, path: str = ""
) -> Frame:
    """Return what is around a file of this type, from this path of a URL; fields keep their order."""
    kind = _plain_type(media_type)
    opening = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{opening}"{name.translate(_ESCAPES)}"\r\n\r\n{value}\r\n' for name, value in fields]
    parts.append(
        f'{opening}"{FILE}"; filename="audio{_suffix(kind, path)}"\r\nContent-Type: {kind}\r\n\r\n'
    )
    return Frame(boundary, "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode())


def _plain_type(media_type: str) -> str:
    """Return the type without parameters, or one that says nothing where it is none."""
    kind = media_type.partition(";")[0].strip().lower()
    is_type = kind.count("/") == 1 and set(kind) <= _TYPE_CHARS
    return kind if is_type else _ANY_TYPE


def _suffix(kind: str, path: str) -> str:
    """Return how the file's name ends: some servers tell formats by it."""
    suffix = PurePosixPath(path).suffix.lower()
    if 1 < len(suffix) <= _LONGEST_SUFFIX and suffix.isascii() and suffix[1:].isalnum():
        return suffix
    return _SUFFIXES.get(kind, "")
