"""Appends: requests that are added to a batch while it runs, until it is finalized. Records; no I/O.

    create with `open` ─► takes requests ─finalize, cancel or the end of its window─► takes none
                             ▲ └─ append ─┘

What one call brings is an append: its bytes are one blob, and slices are ranges of that. When the batch ends,
its requests are joined into the one input file that any other batch has from the start.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

MOST_REQUESTS = 10_000
"""In one append: its rows are written in one transaction, and others wait for that."""
JOINED_NAME = "requests.jsonl"
"""Of the input file that they become."""
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Appends:
    """What was appended to a batch; the batch has no input file before it ends."""

    bytes: int = 0
    default_model: str | None = None
    """That of requests that name none."""
    are_taken: bool = True
    """Whether more may come."""


@dataclass(frozen=True, slots=True)
class AppendedLine:
    """One request of an append: the digest of its custom_id, and where its line lies, newline included."""

    digest: bytes
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Append:
    """The requests of one append, in order. `number` names its bytes; no `model`: they name several."""

    number: int
    lines: Sequence[AppendedLine]
    model: str | None


@dataclass(frozen=True, slots=True)
class AppendLimits:
    """How much a batch may hold in all."""

    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Added:
    """What came of an append. `total`: the requests of the batch afterwards."""

    lines: int
    duplicates: int
    total: int


class Refused(Enum):
    """Why nothing of an append was taken."""

    CLOSED = auto()
    """The batch takes no requests, or none any more."""
    FULL = auto()
    """The batch would have too many of them, or too many bytes in them."""


def new_append() -> int:
    """Draw the number of an append: positive, unique in its batch."""
    return secrets.randbits(62) + 1


def digest_of(custom_id: str) -> bytes:
    """Return what stands for a custom_id: so short that a batch can know a million of them."""
    return hashlib.blake2b(custom_id.encode(), digest_size=_DIGEST_BYTES).digest()
