"""What came of adding requests to a batch, as clients see it."""

from __future__ import annotations

from typing import Literal

import msgspec


class AppendObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to adding requests."""

    object: Literal["batch.append"] = "batch.append"
    batch_id: str
    added: int
    duplicates: int
    total: int
