"""Which bytes of a file a `Range` header asks for (RFC 9110 §14): one range, so that a download can go on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

_RANGE = re.compile(  # possessive: two runs of spaces side by side would be tried in n² ways
    r"\s*+bytes\s*+=\s*+([0-9]{0,18}+)\s*+-\s*+([0-9]{0,18}+)\s*+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first .. first+length-1`."""

    first: int
    length: int


def wanted_span(header: str, size_bytes: int) -> Span | None:
    """Read a Range header; None means the whole file, as for several ranges or nonsense.

    Raises HTTPRequestRangeNotSatisfiable if it asks for nothing that exists.
    """
    found = _RANGE.fullmatch(header)
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        length = min(int(found[2]), size_bytes)
        span = Span(size_bytes - length, length)
    else:
        first = int(found[1])
        if found[2] and int(found[2]) < first:
            return None
        last = min(int(found[2]), size_bytes - 1) if found[2] else size_bytes - 1
        span = Span(first, last - first + 1)
    if span.length <= 0:
        raise web.HTTPRequestRangeNotSatisfiable(
            headers={"Content-Range": f"bytes */{size_bytes}"},
            reason=f"The file has only {size_bytes} bytes.",
        )
    return span
