"""One backend and what is known of it, and one line's slot there: records that `balancer` moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

import msgspec

from batchline.clock import Clock

from .circuit import Circuit, Signal, State
from .lacks import ANY, Lacking, Lacks, Need
from .pressure import Pressure


class Avoids(Enum):
    """How much a line avoids the backend that it was just lost on, or refused by."""

    NOW = auto()
    """It goes elsewhere while another one may take it."""
    AWHILE = auto()
    """It waits for another one, too, that is out and expected back."""
    ALWAYS = auto()
    """Others answer what this one refuses: it goes to no other place again."""


@dataclass(slots=True, eq=False)
class Backend:
    """One backend as lines see it. Times are seconds of a clock that never jumps, unless said."""

    name: str
    pin: str | None
    """What tells nginx to take a line here; None where nobody chooses."""
    circuit: Circuit = field(default_factory=Circuit)
    pressure: Pressure = field(default_factory=Pressure)
    lacks: Lacks = field(default_factory=Lacks)
    since: float = 0.0
    """When the circuit last changed its state (Unix seconds)."""
    out_since: float = 0.0
    """When it was last taken from full service."""
    in_flight: int = 0
    unsent: int = 0
    """Of these, not sent yet: their files are fetched."""
    fresh: int = 0
    """Of those in flight, placed since the circuit was last opened or half-opened."""
    answered_at: float = 0.0
    """When a line was last answered here, well or as a bad one."""
    busy_since: float = 0.0
    """When the first of those in flight was sent to what had been idle."""
    hung_at: float = 0.0
    gone_at: float = 0.0
    """When it last refused a connection, hung, or was not there when it was looked at."""
    is_leaving: bool = False
    """It says that it stops, or its health does: what it answers now may be cut short."""
    is_reserved: bool = False
    """Only isolated attempts are made here (`isolated`)."""
    models: frozenset[str] = frozenset()
    """What it lists; empty: unknown."""
    not_offered: frozenset[str] = frozenset()
    """Endpoints that it said it does not have, when it was looked at."""
    proof_need: Need = ANY
    """What the line needed for which it has to prove itself: a canary needs the same."""
    is_refusing: bool = False
    """It has to prove itself because it refuses what others answer."""

    def takes(self, need: Need, model: str | None, now: float) -> bool:
        """Whether an ordinary line may be sent here, if the circuit lets it and there is room.

        `model`: the one that it has to list for it, or None.
        """
        if self.is_reserved or not self.serves(model) or need.endpoint in self.not_offered:
            return False
        return not self.lacks or self.lacks.allow(need, now)

    @contextmanager
    def preparing(self, clock: Clock) -> Iterator[None]:
        """Mark a line that has its slot and is not sent yet: no server hangs because of that."""
        self.unsent += 1
        try:
            yield
        finally:
            self.unsent -= 1
            if self.in_flight - self.unsent == 1:
                self.busy_since = clock.monotonic()

    def reasons_against(self, need: Need) -> Iterator[str]:
        """Say in words what it lacks of this need, as far as is known."""
        if need.endpoint in self.not_offered:
            yield f"has no {need.endpoint}: start a server that offers it"
        elif self.lacks:
            yield from self.lacks.reasons(need)

    def serves(self, model: str | None) -> bool:
        """Whether it lists this model, as far as is known."""
        return model is None or not self.models or model in self.models

    def has_room(self, share: int, now: float) -> bool:
        """Whether one more line may be sent here. `share`: its part of the limit."""
        if self.in_flight >= share or not self.pressure.lets(held=self.in_flight, now=now):
            return False
        circuit = self.circuit
        return circuit.state is State.CLOSED or self.fresh < circuit.allowance

    @property
    def is_open(self) -> bool:
        """Whether its circuit lets nothing through."""
        return self.circuit.state is State.OPEN


@dataclass(slots=True, eq=False)
class Slot:
    """One line's time at a backend."""

    backend: Backend
    epoch: int
    way_epoch: int
    need: Need = ANY
    is_question: bool = False
    """It is sent to see whether what was lacking is there again."""
    hung: str | None = None
    """Why the line is taken away from there."""
    has_answer: bool = False
    """Nothing is left to be taken away."""


class News(msgspec.Struct, frozen=True):
    """How a line ended, as far as it concerns its backend."""

    signal: Signal
    backend: str | None
    """Who answered or broke off, as far as known."""
    why: str = ""
    lacking: Lacking | None = None
    """What the backend says that it lacks."""
    size_bytes: int = 0
    """How long the line is."""
    is_lost_on_the_way: bool = False
    """nginx took no connection, or broke one off: no backend is to blame."""
