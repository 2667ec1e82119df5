"""Isolated attempts at suspects: where and when they are made, and what becomes of a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from clocks import MovedClock

from batchline.metrics import Metrics
from batchline.model import BackendStatus
from dispatcher.attempts.isolated_attempts import IsolatedAttempts
from dispatcher.attempts.line_history import Attempts
from dispatcher.backends.backend import News
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import Signal
from dispatcher.backends.lacks import Need
from dispatcher.backends.liveness import HangLimits
from dispatcher.replies.policy import Reason
from dispatcher.replies.verdict import NoAnswer, Retry

SUSPECT = Attempts(losses=2, quickest_s=1.0)
URLS = ("http://a:1", "http://b:1", "http://c:1")


@dataclass(eq=False)
class Line:
    model: str | None = "m"
    attempts: Attempts = SUSPECT
    held: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(may_send=True))


class Scene:
    """Isolated attempts before a balancer of three backends; `clock` is moved by hand."""

    def __init__(self):
        self.clock = MovedClock(1000.0)
        self.freed, self.failed = [], []
        self.balancer = Balancer(
            "http://nginx:80",
            URLS,
            hang=HangLimits(None),
            clock=self.clock,
        )
        self.balancer.set_limit(12)
        self.isolated = IsolatedAttempts(
            self.balancer,
            metrics=Metrics(),
            need_of=lambda line: Need(line.model),
            on_free=self.freed.append,
            on_failed=lambda line, result: self.failed.append((line, result)),
            clock=self.clock,
        )
        self.look()

    def look(self, *, dead=()):
        self.clock.advance(1)
        self.balancer.record_probe(
            [
                BackendStatus(
                    name, f"http://{name}", alive=name not in dead, since=0, models=("m",)
                )
                for name in ("a:1", "b:1", "c:1")
            ],
            {},
        )

    def next(self):
        return self.isolated.next(at_most=12)

    def lose(self, line, slot, reason=Reason.RESET):
        self.balancer.record_result(slot, News(Signal.LOST, slot.backend.name))
        self.isolated.record_loss(line, Retry(NoAnswer("x", "y"), reason), 0.1)
        self.balancer.release(slot)

    def answer(self, line, slot):
        self.balancer.record_result(slot, News(Signal.OK, slot.backend.name))
        self.isolated.record_answer(line)
        self.balancer.release(slot)


@pytest.fixture
def scene():
    return Scene()


def test_an_isolated_attempt_has_a_server_to_itself_and_the_others_go_on(scene):
    """One is reserved, what it has in flight ends, then the suspect is sent."""
    busy = [scene.balancer.place(Need("m")) for _ in range(3)]
    line = Line()
    scene.isolated.add(line)

    assert scene.next() == []
    reserved = next(b for b in scene.balancer.backends if b.is_reserved)
    assert {scene.balancer.place(Need("m")).backend for _ in range(6)} == {
        backend for backend in scene.balancer.backends if backend is not reserved
    }
    scene.balancer.release(next(slot for slot in busy if slot.backend is reserved))
    ((sent, slot),) = scene.next()

    assert (sent, slot.backend) == (line, reserved)


def test_the_server_is_given_back_when_nobody_is_suspected_any_more(scene):
    """At once, without a word of anybody."""
    line = Line()
    scene.isolated.add(line)
    ((_, slot),) = scene.next()
    scene.answer(line, slot)

    assert scene.next() == []
    assert not any(backend.is_reserved for backend in scene.balancer.backends)


def test_one_group_is_isolated_at_a_time(scene):
    """The next one begins when the last line of this one has ended."""
    lines = [Line() for _ in range(3)]
    for line in lines:
        scene.isolated.add(line)
    ((first, slot),) = scene.next()

    assert scene.next() == []
    scene.answer(first, slot)
    assert len(scene.next()) == 2


def test_alone_and_its_server_gone_is_a_blame_and_two_fail(scene):
    """The next attempt waits for the same server, while others are alive."""
    line = Line()
    scene.isolated.add(line)
    ((_, slot),) = scene.next()
    server = slot.backend
    scene.lose(line, slot)
    assert scene.next() == []
    scene.look(dead=[server.name])
    assert scene.next() == []
    assert (line.attempts.blames, line.attempts.losses) == (1, 3)
    scene.look()
    scene.look()

    ((_, again),) = scene.next()
    assert again.backend is server
    scene.lose(line, again)
    scene.look(dead=[server.name])
    scene.next()

    ((failed, result),) = scene.failed
    assert (failed, result.code) == (line, "backend_killed")
    assert isinstance(result, NoAnswer)
    assert "Each of the 4 times" in result.message


def test_a_server_that_says_itself_that_it_died_is_believed(scene):
    """It is alive when it is looked at; its engine is not."""
    line = Line()
    scene.isolated.add(line)
    ((_, slot),) = scene.next()
    scene.lose(line, slot, Reason.ENGINE_DEAD)
    scene.next()

    assert line.attempts.blames == 1


def test_a_server_that_lived_makes_its_losses_tries(scene):
    """Seen alive at the two next looks: only the connection was lost."""
    line = Line()
    scene.isolated.add(line)
    ((_, slot),) = scene.next()
    scene.lose(line, slot)
    scene.look()
    scene.next()
    assert scene.freed == []
    scene.look()
    scene.next()

    assert scene.freed == [line]
    assert (line.attempts.losses, line.attempts.spent) == (0, 12)


def test_a_server_that_stays_away_is_replaced_after_five_minutes(scene):
    """Not before: what kills servers shall not tour the fleet."""
    line = Line()
    scene.isolated.add(line)
    ((_, slot),) = scene.next()
    scene.lose(line, slot)
    scene.look(dead=[slot.backend.name])
    scene.next()
    scene.clock.advance(250)
    scene.look(dead=[slot.backend.name])
    assert scene.next() == []
    scene.clock.advance(60)

    ((_, other),) = scene.next()
    assert other.backend is not slot.backend


def test_lines_of_a_batch_that_is_gone_are_forgotten(scene):
    """Before their isolated attempt, in it, and while its loss is pending."""
    waiting, lost = Line(), Line()
    scene.isolated.add(lost)
    ((_, slot),) = scene.next()
    scene.lose(lost, slot)
    scene.isolated.add(waiting)
    waiting.held.may_send = lost.held.may_send = False

    assert scene.next() == []
    assert len(scene.isolated) == 0


def test_a_suspect_goes_to_a_server_that_has_its_model(scene):
    """Or waits until there is one."""
    scene.isolated.add(Line(model="other"))

    assert scene.next() == []
    assert scene.isolated.server is None
