"""Completes and checks the requests of one append: the first that is bad refuses all of them. Pure.

What a request lacks is that of its batch: method, url and model. The rules are those of admission, but for
models that nobody serves: what the fleet serves is known to the dispatcher alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchline.api.appends import MOST_REQUESTS, Append, AppendedLine, digest_of
from batchline.errors import Invalid
from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.line_check import (
    REFUSED,
    Rules,
    another_model,
    duplicate,
    examine,
    good_decoder,
    is_utf8,
    too_long,
)
from batchline.model import Batch
from batchline.outbound.media_urls import MediaRules
from gateway.new_batches.inherited_fields import REFUSED as NO_OBJECT
from gateway.new_batches.inherited_fields import Inheritance, Known

from .requests import Found, Requests, Where


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What this server demands of each request."""

    line_bytes: int
    one_model: bool
    body: BodyRules
    media: MediaRules


class CheckedRequests:
    """One append: feed its body, which returns the lines to be stored, then ask for its `append`."""

    def __init__(self, batch: Batch, requests: Requests, rules: RequestRules) -> None:
        assert batch.appends is not None, "it takes requests"
        self._checks = Rules(batch.endpoint, body=rules.body, media=rules.media)
        self._model = batch.appends.default_model
        self._requests = requests
        self._rules = rules
        self._inheritance = Inheritance(Known(batch.endpoint, self._model))
        self._decode = good_decoder(batch.endpoint, rules.body)
        self._lines: list[AppendedLine] = []
        self._digests: set[bytes] = set()
        self._models: set[str] = set()
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that the chunk completes. Raises Invalid."""
        return b"".join([self._take(found) for found in self._requests.feed(chunk)])

    def finish(self) -> bytes:
        """Return the last line, if it had no end. Raises Invalid."""
        rest = b"".join([self._take(found) for found in self._requests.finish()])
        if not self._lines:
            raise Invalid("There is no request in the body. Send at least one.", param="requests")
        return rest

    def append(self, number: int) -> Append:
        """Return what is to be added, once the bytes are durable under this number."""
        model = next(iter(self._models)) if len(self._models) == 1 else None
        return Append(number, self._lines, model)

    def _take(self, found: Found) -> bytes:
        where = found.where
        if len(self._lines) == MOST_REQUESTS:
            raise Invalid(
                f"{where.text}: there are more than {MOST_REQUESTS:,} requests, the most that are "
                "added at once. Add the others by another call.",
                param=where.prefix or None,
            )
        line = self._completed(found)
        if len(line) > self._rules.line_bytes:
            raise where.refuse(too_long(self._rules.line_bytes))
        custom_id, model = self._check(line, where)
        if self._rules.one_model and model != self._model:
            raise where.refuse(another_model(model))
        digest = digest_of(custom_id)
        if digest in self._digests:
            raise where.refuse(duplicate(custom_id))
        self._digests.add(digest)
        self._models.add(model)
        self._lines.append(AppendedLine(digest, self._size_bytes, len(line) + 1))
        self._size_bytes += len(line) + 1
        return line + b"\n"

    def _completed(self, found: Found) -> bytes:
        """Return the request with what it lacked; one that is no object as it is, for the check to refuse."""
        try:
            return self._inheritance.fill(found.text)
        except NO_OBJECT:
            return found.text

    def _check(self, line: bytes, where: Where) -> tuple[str, str]:
        """Return the custom_id and the model of a line. Raises Invalid with the first of its faults."""
        try:
            good = self._decode(line)
        except REFUSED:
            good = None
        if good is not None and not good.body.stream and is_utf8(line):
            return good.custom_id, good.body.model
        found = examine(line, self._checks)
        for fault in found.faults:
            raise where.refuse(fault)
        assert found.custom_id is not None, "a line without it has a fault"
        assert found.model is not None, "as above"
        return found.custom_id, found.model
