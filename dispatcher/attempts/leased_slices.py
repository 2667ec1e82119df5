"""What the dispatcher has in its hands: slices held under a lease, and their lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from batchline.model import Batch, Lease
from dispatcher.replies.error_texts import model_of

from .line_history import UNTRIED, Attempts


@dataclass(slots=True, eq=False)
class Held:
    """A slice this process holds, until its last line is settled."""

    batch: Batch
    lease: Lease
    left: int
    trusted_until: float
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    timers: set[asyncio.TimerHandle] = field(default_factory=set)
    lines: list[ReadyLine] = field(default_factory=list)
    under_way: int = 0
    """Lines sent and not yet judged (`UnderWay`)."""
    settling: int = 0
    """Outcomes handed to the settler and not yet durable."""
    is_dropped: bool = False
    """Lost: what is in flight is aborted, nothing of it can be settled."""
    is_leaving: bool = False
    """Its batch was paused: what is in flight is settled, then the rest is given back."""

    @property
    def may_send(self) -> bool:
        """Whether its ready lines may still be sent."""
        return not (self.is_dropped or self.is_leaving)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it is under way: what is left may be given back."""
        return not (self.under_way or self.settling)

    def drop(self) -> None:
        """Abort what is in flight of a slice that is lost: nothing of it can be settled."""
        self.is_dropped = True
        for task in self.tasks:
            task.cancel()
        self._forget_timers()

    def leave(self) -> None:
        """Let what is in flight of this slice end in peace and send nothing more of it."""
        self.is_leaving = True
        self._forget_timers()

    def _forget_timers(self) -> None:
        """Let no line that waits for its retry come back."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()

    @property
    def key(self) -> tuple[int, int]:
        """What names it in the store."""
        return self.lease.slice.batch_seq, self.lease.slice.first


class UnderWay:
    """One send of a line: counted in its slice from now on until it ends, which it does once."""

    __slots__ = "_held", "_is_over", "_on_end"

    def __init__(self, held: Held, on_end: Callable[[], None]) -> None:
        self._held = held
        self._on_end = on_end
        self._is_over = False
        held.under_way += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def end(self) -> None:
        """Count it no more; harmless if it has ended."""
        if not self._is_over:
            self._is_over = True
            self._held.under_way -= 1
            self._on_end()


@dataclass(slots=True, eq=False)
class ReadyLine:
    """A line waiting for its turn."""

    held: Held
    index: int
    name: str
    """Its request's id, in its result line and in the model server's log."""
    custom_id: str
    body: bytes | None
    """None where it had to make room (`memory`): it is read again from `offset_bytes` of the input file."""
    size_bytes: int = 0
    """Of the body."""
    offset_bytes: int = 0
    length_bytes: int = 0
    """Of the line in the input file."""
    attempts: Attempts = UNTRIED
    named: str | None = None
    """The model that it names, once that was asked for; of a batch for one model it is the batch's."""

    @property
    def model(self) -> str | None:
        """The model that it asks for."""
        if self.held.batch.model is not None:
            return self.held.batch.model
        if self.named is None and self.body is not None:
            self.named = model_of(self.body) or ""
        return self.named or None

    def make_room(self) -> None:
        """Give up the body; the model that it names is noted before."""
        self.named = self.model or ""
        self.body = None
