"""Whether a server died or only a connection was lost, and what a line pays for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from clocks import MovedClock
from waiting import until

from batchline.metrics import Metrics
from dispatcher.attempts.line_history import Attempts
from dispatcher.attempts.pending_loss import PendingLoss
from dispatcher.attempts.retrying import Retrying, RetryLimits
from dispatcher.backends.balancer import Backend
from dispatcher.replies.policy import FULL_COST, Reason
from dispatcher.replies.verdict import NoAnswer, Retry


@pytest.mark.parametrize(
    ("seen", "looks", "has_died"),
    [
        ({}, 0, None),
        ({}, 1, None),
        ({}, 2, False),
        ({"answered_at": 11.0}, 0, False),
        ({"gone_at": 11.0}, 0, True),
        ({"gone_at": 11.0, "answered_at": 12.0}, 2, True),
        ({"gone_at": 9.0, "answered_at": 9.0}, 1, None),
    ],
    ids=["nothing", "one look", "two looks", "answered", "gone", "back again", "all before"],
)
def test_a_loss_shows_what_it_was(seen, looks, has_died):
    """By what its server does afterwards; what it did before is no evidence."""
    backend = Backend("a:1", "a:1", **seen)

    assert (
        PendingLoss(backend, at=10.0, looks=5, is_sure=False).has_died(looks=5 + looks) is has_died
    )


def test_a_server_that_says_that_it_died_did():
    """Whatever else is seen."""
    backend = Backend("a:1", "a:1", answered_at=11.0)

    assert PendingLoss(backend, at=10.0, looks=0, is_sure=True).has_died(looks=9)


class Scene:
    """Retrying with a clock and looks that are moved by hand; back-offs take no time."""

    def __init__(self, *, left_s=86_400.0, max_attempts=2):
        self.looks = 0
        self.suspects = []
        self.retrying = Retrying(
            RetryLimits(max_attempts, base_s=0.0, max_s=0.0),
            metrics=Metrics(),
            clock=MovedClock(1000.0),
            looks=lambda: self.looks,
            on_due=lambda: None,
            on_suspect=self.suspects.append,
        )
        batch = SimpleNamespace(id="b", expires_at=1000.0 + left_s)
        held = SimpleNamespace(batch=batch, timers=set(), may_send=True)
        elsewhere = Backend("b:1", "b:1", answered_at=float("inf"))
        self.line = SimpleNamespace(held=held, attempts=Attempts(avoid=elsewhere))
        self.backend = Backend("a:1", "a:1")

    async def take(self, reason):
        """Let the line end like this, and its back-off be over."""
        verdict = Retry(NoAnswer("x", "y"), reason)
        taken = self.retrying.take(self.line, verdict, backend=self.backend, seconds=0.5)
        await until(lambda: not self.line.held.timers)
        return taken

    def look(self):
        self.looks += 1
        self.retrying.look_after_losses()


async def test_a_loss_of_a_server_that_died_is_no_try():
    """The second makes the line a suspect."""
    scene = Scene()
    for _ in range(2):
        await scene.take(Reason.RESET)
        scene.backend.gone_at = float("inf")
        scene.retrying.look_after_losses()

    attempts = scene.line.attempts
    assert (attempts.spent, attempts.losses, attempts.quickest_s) == (0, 2, 0.5)
    assert scene.suspects == [scene.line]


async def test_a_loss_of_a_server_that_lived_is_a_try():
    """It waits until two looks have shown it, and then is due like any other."""
    scene = Scene()
    await scene.take(Reason.RESET)
    assert list(scene.retrying.due()) == []
    scene.look()
    scene.look()

    assert list(scene.retrying.due()) == [scene.line]
    assert (scene.line.attempts.spent, scene.line.attempts.losses) == (FULL_COST, 0)


async def test_the_last_try_fails_the_line_unless_time_was_up():
    """With no time left it is the deadline that ends it."""
    in_time, too_late = Scene(max_attempts=1), Scene(max_attempts=1, left_s=0.5)

    assert not await in_time.take(Reason.TIMEOUT)
    assert await too_late.take(Reason.TIMEOUT)
    assert list(too_late.retrying.due()) == []


async def test_after_a_last_try_before_the_deadline_there_is_none():
    """However it ended."""
    scene = Scene(left_s=100.0, max_attempts=9)
    scene.line.attempts = Attempts(is_last=True)
    await scene.take(Reason.SERVER_ERROR)

    assert list(scene.retrying.due()) == []
