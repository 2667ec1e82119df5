"""Trials of suspects: one group at a time in the whole fleet, with a model server to itself.

    suspects ─► a server is reserved ─► what it has in flight ends ─► the group is sent ─► …the next
The other servers go on meanwhile; where there is only one, everything else waits. Who is tried next and who
is to blame is `poison`'s decision. A suspect runs alone, so that it cannot kill a second server: trials
are all made on one server, and wait for it when it is down. A server that lost a line that was alone with
it, and is seen alive right after, did not die: such a line is no suspect, and its losses count as attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from batchline.metrics import Metrics
from dispatcher.backends.backend import Backend, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.lacks import Need
from dispatcher.replies.verdict import NoAnswer, Retry

from .held import ReadyLine
from .pending_loss import PendingLoss
from .poison import LOSSES, Suspects

_PATIENCE_S = 300.0
"""A server that died in a trial is waited for so long before another one is risked."""


class Trials:
    """The suspects, and the server that is reserved for them."""

    def __init__(
        self,
        balancer: Balancer,
        *,
        metrics: Metrics,
        need_of: Callable[[ReadyLine], Need],
        on_free: Callable[[ReadyLine], None],
        on_failed: Callable[[ReadyLine, NoAnswer], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._balancer = balancer
        self._metrics = metrics
        self._need_of = need_of
        self._monotonic = monotonic
        self._on_free = on_free
        self._on_failed = on_failed
        self._pending_loss: tuple[ReadyLine, PendingLoss] | None = None
        self._suspects: Suspects[ReadyLine] = Suspects()
        self._backend: Backend | None = None
        self._last: Backend | None = None
        self._usable_at = 0.0

    def __len__(self) -> int:
        """How many lines are kept apart."""
        return len(self._suspects)

    @property
    def server(self) -> str | None:
        """The server reserved for trials at present."""
        return None if self._backend is None else self._backend.name

    def wants(self, line: ReadyLine) -> bool:
        """Whether a line is to be tried apart."""
        return line.attempts.losses >= LOSSES

    def has_under_way(self, line: ReadyLine) -> bool:
        """Whether this line is on trial now: its end is told here."""
        is_pending = self._pending_loss is not None and self._pending_loss[0] is line
        return self._suspects.has_on_trial(line) and not is_pending

    def add(self, line: ReadyLine) -> None:
        """Keep a line apart until it was tried."""
        self._suspects.add(line)

    def next(self, *, at_most: int) -> list[tuple[ReadyLine, Slot]]:
        """Begin the next trial if its time has come: lines, each with its place."""
        self._resolve()
        if self._suspects.is_on_trial:
            return []
        first = self._first()
        backend = None if first is None else self._choose(self._need_of(first))
        self._reserve(backend)
        if backend is None or backend.in_flight:
            return []
        room = min(at_most, self._balancer.room_at(backend))
        if room <= 0:
            return []
        self._suspects.keep_only(_is_wanted)
        now = self._monotonic()
        group = self._suspects.pick(
            at_most=room,
            may=lambda line: self._balancer.serving.may_take(backend, self._need_of(line), now),
        )
        return [(line, self._balancer.place_at(backend, self._need_of(line))) for line in group]

    # -- how a line on trial ended

    def answered(self, line: ReadyLine) -> None:
        """A server lived through it."""
        if self._ends(line, "answered"):
            self._suspects.answered(line, self._monotonic())

    def undecided(self, line: ReadyLine) -> None:
        """It was neither answered nor lost."""
        if self._ends(line, "undecided"):
            self._suspects.undecided(line)

    def lost(self, line: ReadyLine, verdict: Retry, seconds: float) -> None:
        """Take in that a line on trial was lost."""
        was_on_trial = self._ends(line, "lost")
        assert was_on_trial, "only a line on trial is told of here"
        assert self._backend is not None, "it stays reserved while a group is on trial"
        charged = line.attempts.charge(verdict, backend=self._backend, seconds=seconds)
        line.attempts = charged.lose()
        if not self._suspects.is_single:
            self._suspects.lost(line, self._monotonic())
        else:
            at, looks, is_sure = self._monotonic(), self._balancer.looks, verdict.policy.is_sure
            self._pending_loss = line, PendingLoss(self._backend, at, looks, is_sure)

    def _resolve(self) -> None:
        """See what became of the server that a line was alone with."""
        if self._pending_loss is None:
            return
        line, loss = self._pending_loss
        has_died = loss.has_died(looks=self._balancer.looks)
        if not line.held.may_send:
            self._suspects.undecided(line)
        elif has_died:
            self._blame(line)
        elif has_died is not None:
            self._suspects.undecided(line)
            self._free(line)
        else:
            return
        self._pending_loss = None

    def _blame(self, line: ReadyLine) -> None:
        if not self._suspects.lost(line, self._monotonic()):
            return
        self._metrics.condemned.inc()
        times, alone = line.attempts.losses, line.attempts.blames
        message = (
            f"Each of the {times} times that this request was sent, the model server died or hung "
            f"while working on it; the last {alone} times it had no other request of a batch."
        )
        self._on_failed(line, NoAnswer("backend_killed", message))

    def _free(self, line: ReadyLine) -> None:
        line.attempts = line.attempts.forgive()
        self._on_free(line)

    def _first(self) -> ReadyLine | None:
        first = self._suspects.first()
        if first is None or _is_wanted(first):
            return first
        self._suspects.keep_only(_is_wanted)
        return self._suspects.first()

    def _ends(self, line: ReadyLine, how: str) -> bool:
        was_on_trial = self.has_under_way(line)
        if was_on_trial:
            self._metrics.trials.labels(how).inc()
        return was_on_trial

    # -- where

    def _choose(self, need: Need) -> Backend | None:
        """Return where to try such lines: where the last were, or where there is least to end."""
        now = self._monotonic()
        can = [b for b in self._balancer.backends if self._balancer.serving.may_take(b, need, now)]
        usable = [backend for backend in can if self._balancer.is_usable(backend)]
        if self._last in usable:
            self._usable_at = now
        elif self._last in can and now - self._usable_at < _PATIENCE_S:
            return self._last  # it comes back
        else:
            self._last = min(usable, key=lambda backend: backend.in_flight, default=None)
            self._usable_at = now
        return self._last

    def _reserve(self, backend: Backend | None) -> None:
        if backend is self._backend:
            return
        if self._backend is not None:
            self._backend.is_reserved = False
        if backend is not None:
            backend.is_reserved = True
        self._backend = backend


def _is_wanted(line: ReadyLine) -> bool:
    return line.held.may_send
