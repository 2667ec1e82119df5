"""A create that a client repeats by itself, because it lost the answer, makes no second batch.

The clients of OpenAI and Anthropic number their retries (`x-stainless-retry-count`) and send no
Idempotency-Key. So each of their creates is stored with a key made of client and body. A retry within two
minutes finds the batch by it; another first attempt makes another batch, which retries find from then on. The
store keeps keys and batches together.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from weakref import WeakValueDictionary

from aiohttp import web

from batchline.errors import Invalid
from batchline.model import Batch, NewBatch, UsedKey
from batchline.store import Intake

from .by_key import body_digest

HEADER = "x-stainless-retry-count"
REPLAYED = {"x-batchline-replayed": "true"}
"""Header of an answer that made no new batch."""
KEPT_S = 120

_COUNT = re.compile(r"[0-9]{1,6}")
_PREFIX = "resent "  # an Idempotency-Key holds no space
_WHO = ("Authorization", "X-Api-Key", "User-Agent")


@dataclass(frozen=True, slots=True)
class Resent:
    """A create of a client that numbers its retries: whose it is, and whether it is a retry."""

    key: str
    digest: bytes
    is_repeated: bool

    async def made(self, store: Intake, *, now: int) -> Batch | None:
        """Return the batch that an earlier attempt made, the newest one; None if there is none."""
        if not self.is_repeated or (used := await store.used_key(self.key, now=now)) is None:
            return None
        return await store.get_batch(used.batch_id)

    def use(self, new: NewBatch) -> UsedKey:
        """Return the key as it is stored with the new batch."""
        return UsedKey(self.key, self.digest, new.id, new.created_at + KEPT_S)


def read_resent(request: web.Request, body: bytes) -> Resent | None:
    """Return which client creates what; None for clients that do not number their attempts.

    A client is its key in either header, its host (without the port, which each connection changes) and
    its User-Agent.
    """
    count = request.headers.get(HEADER, "")
    if not _COUNT.fullmatch(count):
        return None
    try:
        digest = body_digest(body)
    except Invalid:  # nested too deeply to be compared
        return None
    who = hashlib.sha256(digest)
    for part in (request.remote, *(request.headers.get(name) for name in _WHO)):
        who.update(f"{len(part or '')} {part}".encode("utf-8", "surrogateescape"))
    return Resent(_PREFIX + who.hexdigest(), digest, is_repeated=int(count) > 0)


class Creating:
    """The creates that run: a retry waits for an earlier attempt that has not ended."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def alone(self, resent: Resent) -> asyncio.Lock:
        """Return the lock of this client and this body; it exists as long as it is used."""
        return self._locks.setdefault(resent.key, asyncio.Lock())


CREATING = web.AppKey("creating", Creating)
