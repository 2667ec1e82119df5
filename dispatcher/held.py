"""What the dispatcher has in its hands: slices held under a lease, and their lines."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import msgspec

from batchline.model import Batch, Lease

from .placement import Berth
from .verdict import Answer, NoAnswer


class _Named(msgspec.Struct):
    model: str | None = None


@dataclass(slots=True, eq=False)
class Held:
    """A slice this process holds, until its last line is settled."""

    batch: Batch
    lease: Lease
    left: int
    trusted_until: float
    tasks: set[asyncio.Task[bool]] = field(default_factory=set)
    timers: set[asyncio.TimerHandle] = field(default_factory=set)
    lines: list[ReadyLine] = field(default_factory=list)
    under_way: int = 0
    """Lines sent and not yet durable."""
    is_dropped: bool = False
    """Lost: what is in flight is aborted, nothing of it can be settled."""
    is_leaving: bool = False
    """Its batch was paused: what is in flight is settled, then the rest is given back."""

    @property
    def may_send(self) -> bool:
        """Whether its ready lines may still be sent."""
        return not (self.is_dropped or self.is_leaving)

    def forget_timers(self) -> None:
        """Let no line that waits for its retry come back."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()

    @property
    def key(self) -> tuple[int, int]:
        """What names it in the store."""
        return self.lease.slice.batch_seq, self.lease.slice.first


@dataclass(slots=True, eq=False)
class ReadyLine:
    """A line waiting for its turn. `spent` counts tries, each FULL_COST or less."""

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
    model: str | None = None
    """What the body names, once it has made room."""
    spent: int = 0
    tries: int = 0
    was_stale: bool = False
    """It was sent again at once because its connection was stale: that is free only once."""
    is_last: bool = False
    """No time is left for a try after this one."""
    avoid: Berth | None = None
    """The backend that it was just lost on."""
    fails_with: Answer | NoAnswer | None = None
    """What it fails with when its turn comes and its tries are spent."""
    losses: int = 0
    """How often a server was lost while it worked on this line."""
    blames: int = 0
    """How often of these it was alone with it."""
    quickest_s: float = math.inf
    is_on_trial: bool = False

    def named_model(self) -> str | None:
        """Return the model that the body names; None where it names none."""
        if self.body is None:
            return self.model
        try:
            return msgspec.json.decode(self.body, type=_Named).model
        except msgspec.DecodeError:
            return None
