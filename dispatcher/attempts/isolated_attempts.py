"""Isolated attempts: the quarantine's groups, one at a time in the whole fleet, each with a server to itself.

    suspects ─► a server is reserved ─► what it has in flight ends ─► the group is sent ─► …the next
The other servers go on meanwhile; where there is only one, everything else waits. Who is sent next and who
is to blame is `quarantine`'s decision. A suspect runs alone, so that it cannot kill a second server: all
groups are sent to one server, and wait for it when it is down. A server that lost a line that was alone with
it, and is seen alive right after, did not die: such a line is no suspect, and its losses count as attempts.
"""

from __future__ import annotations

from collections.abc import Callable

from batchline.clock import Clock
from batchline.metrics import Metrics
from dispatcher.backends.backend import Backend, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.lacks import Need
from dispatcher.replies.verdict import NoAnswer, Retry

from .leased_slices import ReadyLine
from .pending_loss import PendingLoss
from .quarantine import Quarantine

_PATIENCE_S = 300.0
"""A server that died under a group is waited for so long before another one is risked."""


class IsolatedAttempts:
    """The attempts at the suspects, and the server that is reserved for them."""

    def __init__(
        self,
        balancer: Balancer,
        *,
        metrics: Metrics,
        clock: Clock,
        need_of: Callable[[ReadyLine], Need],
        on_free: Callable[[ReadyLine], None],
        on_failed: Callable[[ReadyLine, NoAnswer], None],
    ) -> None:
        self._balancer = balancer
        self._metrics = metrics
        self._need_of = need_of
        self._clock = clock
        self._on_free = on_free
        self._on_failed = on_failed
        self._pending_loss: tuple[ReadyLine, PendingLoss] | None = None
        self._quarantine: Quarantine[ReadyLine] = Quarantine()
        self._backend: Backend | None = None
        self._last: Backend | None = None
        self._usable_at = 0.0

    def __len__(self) -> int:
        """How many suspects there are."""
        return len(self._quarantine)

    @property
    def server(self) -> str | None:
        """The server reserved for them at present."""
        return None if self._backend is None else self._backend.name

    def has_under_way(self, line: ReadyLine) -> bool:
        """Whether the attempt of this line that is under way is an isolated one: its end is told here."""
        is_pending = self._pending_loss is not None and self._pending_loss[0] is line
        return self._quarantine.has_isolated(line) and not is_pending

    def add(self, line: ReadyLine) -> None:
        """Keep a suspect apart until it is known what it does."""
        self._quarantine.add(line)

    def next(self, *, at_most: int) -> list[tuple[ReadyLine, Slot]]:
        """Isolate the next group if its time has come: lines, each with its place."""
        self._resolve()
        if self._quarantine.is_busy:
            return []
        first = self._first()
        backend = None if first is None else self._choose(self._need_of(first))
        self._reserve(backend)
        if backend is None or backend.in_flight:
            return []
        room = min(at_most, self._balancer.room_at(backend))
        if room <= 0:
            return []
        self._quarantine.keep_only(_is_wanted)
        now = self._clock.monotonic()
        group = self._quarantine.isolate(
            at_most=room,
            may=lambda line: self._balancer.serving.may_take(backend, self._need_of(line), now),
        )
        return [(line, self._balancer.place_at(backend, self._need_of(line))) for line in group]

    # -- how an isolated attempt ended

    def record_answer(self, line: ReadyLine) -> None:
        """Take in that a server lived through a line; harmless if its attempt was no isolated one."""
        if self._ends(line, "answered"):
            self._quarantine.clear(line, self._clock.monotonic())

    def release(self, line: ReadyLine) -> None:
        """Take in that a line was neither answered nor lost; harmless if its end is known."""
        if self._ends(line, "undecided"):
            self._quarantine.release(line)

    def record_loss(self, line: ReadyLine, verdict: Retry, seconds: float) -> None:
        """Take in that a line was lost after so many `seconds`."""
        is_isolated = self._ends(line, "lost")
        assert is_isolated, "only an isolated attempt is told of here"
        assert self._backend is not None, "it stays reserved while a group is isolated"
        charged = line.attempts.charge(verdict, backend=self._backend, seconds=seconds)
        line.attempts = charged.lose()
        if not self._quarantine.is_single:
            self._quarantine.record_loss(line, self._clock.monotonic())
        else:
            at, looks, is_sure = (
                self._clock.monotonic(),
                self._balancer.looks,
                verdict.policy.is_sure,
            )
            self._pending_loss = line, PendingLoss(self._backend, at, looks, is_sure)

    def _resolve(self) -> None:
        """See what became of the server that a line was alone with."""
        if self._pending_loss is None:
            return
        line, loss = self._pending_loss
        has_died = loss.has_died(looks=self._balancer.looks)
        if not line.held.may_send:
            self._quarantine.release(line)
        elif has_died:
            self._blame(line)
        elif has_died is not None:
            self._quarantine.release(line)
            line.attempts = line.attempts.forgive()
            self._on_free(line)
        else:
            return
        self._pending_loss = None

    def _blame(self, line: ReadyLine) -> None:
        if not self._quarantine.record_loss(line, self._clock.monotonic()):
            return
        self._metrics.poisoned.inc()
        times, alone = line.attempts.losses, line.attempts.blames
        message = (
            f"Each of the {times} times that this request was sent, the model server died or hung "
            f"while working on it; the last {alone} times it had no other request of a batch."
        )
        self._on_failed(line, NoAnswer("backend_killed", message))

    def _first(self) -> ReadyLine | None:
        first = self._quarantine.first()
        if first is None or _is_wanted(first):
            return first
        self._quarantine.keep_only(_is_wanted)
        return self._quarantine.first()

    def _ends(self, line: ReadyLine, how: str) -> bool:
        is_isolated = self.has_under_way(line)
        if is_isolated:
            self._metrics.isolated_attempts.labels(how).inc()
        return is_isolated

    # -- where

    def _choose(self, need: Need) -> Backend | None:
        """Return where to send such lines: where the last were, or where there is least to end."""
        now = self._clock.monotonic()
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
