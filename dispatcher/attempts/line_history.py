"""What one line went through: the record of its attempts so far. Pure.

    judged ─► charge ─► its server died           ─► lose ─► it was alone with it ─► blame
                     └► only the connection broke ─► survive, or forgive for all losses at once
    refused for good ─► refuse
The record is frozen: each change returns a new one, which this room alone puts in the place of the old one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dispatcher.backends.backend import Avoids, Backend
from dispatcher.replies.policy import FULL_COST, Counts, Reason
from dispatcher.replies.verdict import Answer, NoAnswer, Retry

from .opinions import Kind


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one line."""

    count: int = 0
    """How many ended so that another one is due."""
    spent: int = 0
    """What they cost, each FULL_COST or less."""
    losses: int = 0
    """How often a server was lost while it worked on the line."""
    blames: int = 0
    """How often of these the line was alone with it."""
    quickest_s: float = math.inf
    """The shortest time from being sent to being lost: what kills a server mostly does so at once."""
    was_stale: bool = False
    """It was sent again at once because its connection was stale: that is free only once."""
    is_last: bool = False
    """No time is left for an attempt after the next one."""
    fails_with: Answer | NoAnswer | None = None
    """What the line fails with when its turn comes and its attempts are spent."""
    refusals: tuple[tuple[str, Kind], ...] = ()
    """Which backends refused it for good, and how: one alone may be wrong."""
    avoid: Backend | None = None
    """The backend that it was just lost on, or refused by."""
    avoids: Avoids = Avoids.NOW
    """How much it avoids that one."""

    def charge(
        self,
        verdict: Retry,
        *,
        backend: Backend | None = None,
        seconds: float = 0.0,
        is_free: bool = False,
    ) -> Attempts:
        """Count an attempt that took so many `seconds` at `backend`. `is_free`: it costs nothing."""
        is_loss = verdict.policy.counts is Counts.LOSS
        return replace(
            self,
            count=self.count + 1,
            spent=self.spent + (0 if is_free else verdict.cost),
            quickest_s=min(self.quickest_s, seconds) if is_loss else self.quickest_s,
            was_stale=self.was_stale or verdict.reason is Reason.STALE,
            fails_with=verdict.result,
            avoid=self.avoid if self.refusals else backend or self.avoid,
        )

    def lose(self) -> Attempts:
        """Count a server that died, or hung, while it worked on the line."""
        return replace(self, losses=self.losses + 1)

    def blame(self) -> Attempts:
        """Count a loss of a server that worked on nothing else."""
        return replace(self, blames=self.blames + 1)

    def survive(self) -> Attempts:
        """Count a loss whose server lived as an attempt."""
        return replace(self, spent=self.spent + FULL_COST)

    def forgive(self) -> Attempts:
        """Count all losses as attempts: the server of the last one lived."""
        return replace(self, spent=self.spent + self.losses * FULL_COST, losses=0, blames=0)

    def refuse(self, backend: Backend, kind: Kind, result: Answer | NoAnswer) -> Attempts:
        """Take in that `backend` refused the line for good."""
        refusal = backend.name, kind
        known = self.refusals if refusal in self.refusals else (*self.refusals, refusal)
        return replace(self, refusals=known, fails_with=result, avoid=backend)


UNTRIED = Attempts()
"""The record of a line that was not sent yet."""
