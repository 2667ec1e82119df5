"""When a line that was not answered is sent again: the part of `policy` that depends on the line.

    back-off ─► may it afford a token? ─► ready
                     └─ no: it waits for one, or for a place that no first attempt wants
No wait is longer than half the time to the batch's deadline, and the attempt after it is the last one. A line
with no time left stays where it is until its batch expires.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from batchline.clock import Clock
from batchline.metrics import Metrics
from dispatcher.backends.backend import Backend
from dispatcher.replies.policy import FULL_COST, Counts, Reason, Wait
from dispatcher.replies.verdict import Answer, NoAnswer, Retry

from .budget import Budget
from .leased_slices import ReadyLine
from .pending_loss import PendingLoss
from .quarantine import is_suspect

_MOST_DOUBLINGS = 32  # beyond it the cap holds anyway
TOO_LATE_S = 1.0
"""With less time left than this an attempt is not worth its start: the deadline is looked at each second."""
_COSTLY = (Counts.ATTEMPT, Counts.PATIENCE)
"""What takes a token. A line whose server was lost only takes its place again."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often and how soon a line is sent again."""

    max_attempts: int
    base_s: float
    max_s: float

    @property
    def budget(self) -> int:
        """What a line may spend, in parts of FULL_COST."""
        return self.max_attempts * FULL_COST

    def delay_s(self, verdict: Retry, *, attempts: int) -> float:
        """Return how long a line waits after so many `attempts` (from 1): full jitter, as drawn."""
        match verdict.policy.wait:
            case Wait.NONE:
                return 0.0
            case Wait.LONGEST:
                return self.max_s
            case Wait.BACK_OFF | Wait.ASKED:
                doubled = self.base_s * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
                drawn = random.uniform(0, min(self.max_s, doubled))  # noqa: S311 - no secret
                return max(drawn, verdict.after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """In how many seconds a line is tried again, and whether for the last time."""

    delay_s: float
    is_last: bool = False


def plan(delay_s: float, left_s: float) -> Plan | None:
    """Fit a delay into the time that is left; None where no attempt fits into it any more."""
    if left_s <= TOO_LATE_S:
        return None
    if delay_s <= left_s / 2:
        return Plan(delay_s)
    return Plan(random.uniform(left_s / 4, left_s / 2), is_last=True)  # noqa: S311 - no secret


@dataclass(slots=True)
class _Account:
    """One batch's budget, and the lines that wait for a token of it."""

    budget: Budget
    waiting: deque[ReadyLine] = field(default_factory=deque)


class Retrying:
    """The lines that wait for their retry. `on_due` is called when one may be sent again."""

    def __init__(
        self,
        limits: RetryLimits,
        *,
        metrics: Metrics,
        clock: Clock,
        looks: Callable[[], int],
        on_due: Callable[[], None],
        on_suspect: Callable[[ReadyLine], None],
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._looks = looks
        self._pending_losses: list[tuple[PendingLoss, ReadyLine]] = []
        self._on_due = on_due
        self._on_suspect = on_suspect
        self._accounts: dict[str, _Account] = {}
        self._short: dict[str, _Account] = {}  # those of them that lines wait for
        self._due: deque[ReadyLine] = deque()
        self._timers: set[asyncio.TimerHandle] = set()

    def fails_with(self, line: ReadyLine) -> Answer | NoAnswer | None:
        """Return what a line fails with that has used up its attempts; None while it has not."""
        is_spent = line.attempts.spent >= self._limits.budget
        return line.attempts.fails_with if is_spent else None

    def left_s(self, line: ReadyLine) -> float:
        """Return how long the line's batch still runs: negative where it has expired."""
        return line.held.batch.expires_at - self._clock.now()

    def take(
        self,
        line: ReadyLine,
        verdict: Retry,
        *,
        backend: Backend | None = None,
        seconds: float = 0.0,
        is_free: bool = False,
    ) -> bool:
        """Let the line be tried again as the table says; False where its attempts are spent.

        `backend`: where it was, for so many `seconds`. `is_free`: this attempt counts for nothing.
        """
        attempts = line.attempts = line.attempts.charge(
            verdict, backend=backend, seconds=seconds, is_free=is_free
        )
        then = plan(self._limits.delay_s(verdict, attempts=attempts.count), self.left_s(line))
        if then is None:
            return True  # it expires with its batch
        if self.fails_with(line) is not None and verdict.reason is not Reason.OUR_FAULT:
            return False
        if line.held.may_send and not attempts.is_last:
            line.attempts = replace(attempts, is_last=then.is_last)
            loss = None
            if verdict.policy.counts is Counts.LOSS and backend is not None:
                loss = PendingLoss(
                    backend, self._clock.monotonic(), self._looks(), verdict.policy.is_sure
                )
            is_costly = verdict.policy.counts in _COSTLY and not is_free
            self._back_off(line, then.delay_s, loss, is_costly=is_costly)
        return True

    def record_send(self, line: ReadyLine) -> None:
        """Take in that a line is being sent: first attempts earn what retries spend."""
        if not line.attempts.count:
            self._account(line).budget.earn()

    def record_answer(self, line: ReadyLine) -> None:
        """Take in that a line was answered well: a retry was worth its token, and returns it."""
        if line.attempts.count:
            self._account(line).budget.earn(1)

    def due(self) -> Iterator[ReadyLine]:
        """Yield the lines that may be sent again now, those first that have waited longest."""
        now = self._clock.monotonic()
        for batch_id, account in list(self._short.items()):
            while account.waiting and account.budget.take(now):
                self._due.append(account.waiting.popleft())
            if not account.waiting:
                del self._short[batch_id]
        while self._due:
            yield self._due.popleft()

    def next_for_idle_place(self) -> ReadyLine | None:
        """Return a line that cannot afford its retry, to be sent where nobody else wants the place."""
        if not self._short:
            return None
        batch_id, account = next(iter(self._short.items()))
        del self._short[batch_id]
        line = account.waiting.popleft()
        if account.waiting:
            self._short[batch_id] = account  # next time another batch
        return line

    def forget(self, batch_id: str) -> None:
        """Forget the budget of a batch that does not run any more."""
        self._accounts.pop(batch_id, None)
        self._short.pop(batch_id, None)

    def measure(self, *, suspects: int) -> None:
        """Show how many lines wait, and what for."""
        waiting = sum(len(account.waiting) for account in self._short.values())
        self._timers = {timer for timer in self._timers if not timer.cancelled()}
        self._metrics.retries_waiting.labels("back_off").set(len(self._timers))
        self._metrics.retries_waiting.labels("budget").set(waiting)
        self._metrics.retries_waiting.labels("quarantine").set(suspects)

    def _back_off(
        self, line: ReadyLine, delay_s: float, loss: PendingLoss | None, *, is_costly: bool
    ) -> None:
        timers = line.held.timers

        def again() -> None:
            timers.discard(timer)
            self._timers.discard(timer)
            if loss is not None:
                self._pending_losses.append((loss, line))
                self.look_after_losses()
            else:
                self._let_go_on(line, is_costly=is_costly)
            self._on_due()

        timer = asyncio.get_running_loop().call_later(delay_s, again)
        timers.add(timer)
        self._timers.add(timer)

    def look_after_losses(self) -> None:
        """Count the losses of which is known by now what they were."""
        pending_losses, self._pending_losses = self._pending_losses, []
        for loss, line in pending_losses:
            if not line.held.may_send:
                continue
            has_died = loss.has_died(looks=self._looks())
            if has_died is None:
                self._pending_losses.append((loss, line))
                continue
            line.attempts = line.attempts.lose() if has_died else line.attempts.survive()
            self._let_go_on(line, is_costly=not has_died)

    def _let_go_on(self, line: ReadyLine, *, is_costly: bool) -> None:
        """Let a line that has waited go on, to where it belongs."""
        if is_suspect(line.attempts):
            self._on_suspect(line)
        elif is_costly and not self._account(line).budget.take(self._clock.monotonic()):
            self._metrics.retries_held_back.inc()
            self._account(line).waiting.append(line)
            self._short[line.held.batch.id] = self._account(line)
        else:
            self._due.append(line)

    def _account(self, line: ReadyLine) -> _Account:
        batch_id = line.held.batch.id
        if batch_id not in self._accounts:
            self._accounts[batch_id] = _Account(Budget(self._clock.monotonic()))
        return self._accounts[batch_id]
