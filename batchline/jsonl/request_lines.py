"""The lines of input files, decoded for dispatch. Request bodies stay raw bytes."""

from __future__ import annotations

import msgspec

from .nesting import read_checked
from .surrogates import without_lone_surrogates

_BOM = b"\xef\xbb\xbf"


class RequestLine(msgspec.Struct):
    """The parts of a checked line that dispatching needs."""

    custom_id: str
    body: msgspec.Raw


_request_decoder = msgspec.json.Decoder(RequestLine)


def decode_requests(data: bytes) -> list[RequestLine]:
    """Decode the requests of one slice's bytes; blank lines are skipped, a leading BOM too."""
    return [request for _, _, request in decode_placed(data)]


def decode_placed(data: bytes) -> list[tuple[int, int, RequestLine]]:
    """Decode the requests of one slice's bytes, each with the place and the length of its line in them.

    Raises ValueError: a line is no request.
    """
    found = []
    start = len(_BOM) if data.startswith(_BOM) else 0
    for line in data[start:].split(b"\n"):
        if line.strip():
            found.append((start, len(line), read_checked(_decoded, line)))
        start += len(line) + 1
    return found


def _decoded(line: bytes) -> RequestLine:
    try:
        return _request_decoder.decode(line)
    except msgspec.DecodeError:
        whole = without_lone_surrogates(line)
        if whole == line:
            raise
    found = _request_decoder.decode(whole)
    body = bytes(found.body)
    start = whole.rindex(body)  # the lengths are equal, so the place is the same
    found.body = msgspec.Raw(line[start : start + len(body)])
    return found
