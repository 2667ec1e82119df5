"""The body of a call, split into its requests. Pure.

Each request is one element of the array `requests`, as it came: whether it is a good one is not decided here,
so that a bad one spoils no other. Time is linear in the bytes, whatever they are.
"""

from __future__ import annotations

from mmap import mmap

from batchline.api import parameters
from batchline.errors import Invalid, RequestTooLarge
from gateway.new_batches.request_array import FIELD, RequestArray

_STEP_BYTES = 1 << 12  # so that an array of too many short elements is given up early
_FRAME_BYTES = 1 << 16
_BLANK = b" \t\r\n"


def split(body: bytes | mmap, *, most: int) -> list[bytes]:
    """Return the requests of a call, in order; at least one, at most `most`.

    Raises Invalid: the body is no JSON object with such an array; RequestTooLarge: its other fields are long.
    """
    array = RequestArray(frame_bytes=_FRAME_BYTES, too_large=_too_large)
    found: list[bytes] = []
    parts: list[bytes] = []
    for start in range(0, len(body), _STEP_BYTES):
        for piece in array.feed(body[start : start + _STEP_BYTES]):
            parts.append(piece.text)
            if piece.ends:
                found.append(b"".join(parts).strip(_BLANK))
                parts.clear()
        if len(found) > most:
            raise _too_many(most)
    fields = parameters.json_object(array.frame())
    if not array.has_begun:
        raise parameters.wrong_type(FIELD, "an array", parameters.required(fields, FIELD))
    if not found:
        parameters.filled([], param=FIELD)
    return found


def _too_many(most: int) -> Invalid:
    return Invalid(
        f"Invalid '{FIELD}': array too long. Expected an array with maximum length {most}, but got a "
        "longer one instead (BATCHLINE_SYNC_MAX_REQUESTS). Send several calls, or a batch.",
        param=FIELD,
        code="array_above_max_length",
    )


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(
        f"The fields beside '{FIELD}' are longer than {_FRAME_BYTES} bytes. Leave them out: none has a "
        "meaning."
    )
