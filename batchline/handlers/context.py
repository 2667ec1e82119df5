"""What a handler may ask for beside the batch and its results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from .results import Results

LARGEST_STATE_BYTES = 32 * 1024


class GiveUp(Exception):
    """Raise it where no later attempt can succeed: the batch is not handed to this handler again."""


class Context:
    """One attempt at one batch."""

    def __init__(
        self,
        results: Results,
        *,
        settings: Mapping[str, Any],
        idempotency_key: str,
        attempt: int,
        state: Any,
        keep: Callable[[int, bytes], Awaitable[None]],
    ) -> None:
        self.settings = settings
        """What the operator wrote in the handler's section; empty if it has none."""
        self.idempotency_key = idempotency_key
        """The same in every attempt at this batch, and in no other: the id of its event."""
        self.attempt = attempt
        """From 1 on."""
        self.state = state
        """What the last checkpoint kept; None in a first attempt, or if it kept nothing."""
        self.start = results.taken
        """How many results earlier attempts handled: the stream begins behind them."""
        self._results = results
        self._keep = keep

    async def checkpoint(self, state: Any = None) -> None:
        """Say that all results taken so far are handled: a later attempt begins behind them.

        `state`: JSON of 32 KiB at most, for that attempt. It is kept within a second or so; until then, and
        if this process dies at once, results come again. Raises ValueError.
        """
        kept = msgspec.json.encode(state)
        if len(kept) > LARGEST_STATE_BYTES:
            raise ValueError(
                f"A checkpoint keeps {LARGEST_STATE_BYTES} bytes at most, not {len(kept)}."
            )
        await self._keep(self._results.taken, kept)
