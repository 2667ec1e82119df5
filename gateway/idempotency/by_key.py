"""`Idempotency-Key`: a repeated `POST /v1/batches` makes no second batch.

Owns the header, the comparison of bodies and the message of a conflict; the store keeps keys and batches
together. The openai clients send the header only if it is given (`extra_headers`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from batchline.api import parameters
from batchline.errors import Conflict, Invalid
from batchline.model import Batch, NewBatch, UsedKey
from batchline.store import Intake

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
"""Header of an answer that made no new batch."""
KEPT_S = 24 * 3600

_LONGEST = 255
_VISIBLE = re.compile(r"[\x21-\x7e]*")


def read_key(values: Sequence[str]) -> str | None:
    """Check the header's values; None where it was not sent. Raises Invalid."""
    if not values:
        return None
    if len(values) > 1:
        raise _bad(f"it was sent {len(values)} times. Send it once.")
    key = values[0]
    if not key or len(key) > _LONGEST:
        raise _bad(f"expected 1 to {_LONGEST} characters, but got {len(key)}.")
    if not _VISIBLE.fullmatch(key):
        raise _bad("expected visible ASCII characters only, such as a UUID.")
    return key


def _bad(why: str) -> Invalid:
    return Invalid(f"Invalid header '{HEADER}': {why}", param=HEADER, code="invalid_value")


def body_digest(body: bytes) -> bytes:
    """Digest a JSON body; spaces and the order of keys make no difference. Raises Invalid."""
    value = parameters.json_object(body)
    try:
        text = json.dumps(value, sort_keys=True)
    except RecursionError as exc:
        raise Invalid("We could not compare the JSON body: it is nested too deeply.") from exc
    return hashlib.sha256(text.encode()).digest()


class Idempotency:
    """One request that carries a key."""

    def __init__(self, store: Intake, key: str, body: bytes) -> None:
        self._store = store
        self._key = key
        self._digest = body_digest(body)

    async def made(self, *, now: int) -> Batch | None:
        """Return the batch that an earlier request with this key made, or None if there was none.

        Raises Conflict if that request had another body, or if its batch was deleted.
        """
        used = await self._store.used_key(self._key, now=now)
        if used is None:
            return None
        if used.body_digest != self._digest:
            raise self._clash(
                f"{used.batch_id} was created with another body. Send that body again to get "
                f"{used.batch_id}, or another key to create a new batch."
            )
        batch = await self._store.get_batch(used.batch_id)
        if batch is None:
            raise self._clash(
                f"{used.batch_id} was created with it and then deleted. "
                "Send another key to create a new batch."
            )
        return batch

    def use(self, new: NewBatch) -> UsedKey:
        """Return the key as it is stored with the new batch."""
        return UsedKey(self._key, self._digest, new.id, new.created_at + KEPT_S)

    async def winner(self, now: int) -> Batch:
        """Return the batch that got the key first. Raises Conflict as `made` does."""
        batch = await self.made(now=now)
        assert batch is not None, "a key that is taken has made a batch"
        return batch

    def _clash(self, why: str) -> Conflict:
        return Conflict(
            f"The {HEADER} '{self._key}' is in use: {why}",
            param=HEADER,
            code="idempotency_key_reused",
        )
