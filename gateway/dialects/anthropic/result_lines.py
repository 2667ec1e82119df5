"""Results in Anthropic's form: each result line of ours translated, and lines for what never ran. Pure.

A message stays as the model server wrote it, byte for byte.
"""

from __future__ import annotations

import msgspec

from batchline.api.objects.encoding import encode
from batchline.jsonl.nesting import read_checked
from batchline.jsonl.request_lines import RequestLine
from batchline.jsonl.result_lines import CANCELLED_CODE, EXPIRED_CODE, TIMEOUT_CODE
from batchline.model import Batch
from batchline.states import BatchStatus

from .errors import anthropic_error, said

_CANCELED = b'{"type":"canceled"}'
_EXPIRED = b'{"type":"expired"}'
_OURS = 500
_STATUSES = {TIMEOUT_CODE: 504}
"""Of requests that got no answer, by our code; any other is a fault of this server."""
_GOOD = range(200, 300)


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str
    message: str


class _Record(msgspec.Struct):
    id: str
    custom_id: msgspec.Raw
    response: _Response | None
    error: _Error | None


_decode = msgspec.json.Decoder(_Record).decode


def result_line(record: bytes) -> bytes:
    """Translate one result line."""
    found = read_checked(_decode, record)
    return _line(bytes(found.custom_id), _result(found))


def unrun_line(request: RequestLine, result: bytes) -> bytes:
    """Make the line of a request that has no result line."""
    return _line(encode(request.custom_id), result)


def unrun_result(batch: Batch) -> bytes:
    """Say what became of every request of a batch that ended before any could run, or lost its results."""
    if batch.status is BatchStatus.CANCELLED:
        return _CANCELED
    message = batch.faults[0].message if batch.faults else "The batch failed."
    return _errored(_OURS, message, request_id=None)


def _line(custom_id: bytes, result: bytes) -> bytes:
    return b'{"custom_id":' + custom_id + b',"result":' + result + b"}\n"


def _result(record: _Record) -> bytes:
    if record.response is not None:
        status, body = record.response.status_code, bytes(record.response.body)
        if status in _GOOD:
            return b'{"type":"succeeded","message":' + body + b"}"
        return _errored(status, said(status, body), request_id=record.id)
    error = record.error
    assert error is not None, "a line has a response or an error"
    if error.code == CANCELLED_CODE:
        return _CANCELED
    if error.code == EXPIRED_CODE:
        return _EXPIRED
    return _errored(_STATUSES.get(error.code, _OURS), error.message, request_id=record.id)


def _errored(status: int, message: str, *, request_id: str | None) -> bytes:
    error = encode(anthropic_error(status, message, request_id=request_id))
    return b'{"type":"errored","error":' + error + b"}"
