"""Which backend gets a line: pure, with a clock that the tests move."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from clocks import MovedClock

from batchline.model import BackendStatus
from dispatcher.backends.backend import Avoids, News
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import Signal, State
from dispatcher.backends.lacks import Lacking, Need
from dispatcher.backends.liveness import HangLimits, Liveness

NGINX = "http://127.0.0.1:8000"


class Scene:
    """A balancer over some backends and what is seen of them."""

    def __init__(self, *names, limit=12, **options):
        self.clock = MovedClock(1000.0)
        self.statuses = {name: self.status(name, models=("m",)) for name in names}
        self.liveness_of = {}
        self.balancer = Balancer(
            NGINX,
            [f"http://{name}" for name in names],
            hang=HangLimits(300.0),
            clock=self.clock,
            **options,
        )
        self.look()
        self.balancer.set_limit(limit)
        self.backends = {backend.name: backend for backend in self.balancer.backends}

    def status(self, name, *, alive=True, models=(), reason=None):
        return BackendStatus(name, f"http://{name}", alive, 0, models, reason=reason)

    def look(self, **changes):
        """Let the probe look; changes: a name's status."""
        for name, values in changes.items():
            self.statuses[name] = self.status(name, **values)
        self.due = self.balancer.record_probe(list(self.statuses.values()), self.liveness_of)
        return self.due.hung

    def place(self, count=1, model="m", avoid=None):
        """Place lines while there is room; return their slots."""
        slots = [self.balancer.place(Need(model), avoid=avoid) for _ in range(count)]
        return [slot for slot in slots if slot is not None]

    def end(self, slot, signal, backend="its own", **news):
        """End a line."""
        backend = slot.backend.name if backend == "its own" else backend
        self.balancer.record_result(slot, News(signal, backend, "broke off", **news))
        self.balancer.release(slot)

    def where(self, slots):
        return Counter(slot.backend.name for slot in slots)

    def state(self, name):
        return self.backends[name].circuit.state


def test_lines_go_where_the_fewest_are():
    """Evenly, up to the share of each."""
    scene = Scene("a", "b", "c")

    slots = scene.place(6)
    for slot in [s for s in slots if s.backend.name == "b"]:
        scene.end(slot, Signal.OK)
    more = scene.place(20)

    assert scene.where(slots) == {"a": 2, "b": 2, "c": 2}
    assert scene.where(more) == {"a": 2, "b": 4, "c": 2}


def test_nothing_is_sent_before_the_first_look():
    """Which models they serve is not known until then."""
    balancer = Balancer(NGINX, ["http://a"], hang=HangLimits(None), clock=MovedClock())
    balancer.set_limit(5)

    assert balancer.place() is None


def test_the_backend_that_lost_a_line_gets_it_again_only_if_it_is_alone():
    """While another one is in service the line waits for that one, full or not."""
    scene = Scene("a", "b", limit=4)
    a = scene.backends["a"]

    assert scene.where(scene.place(3, avoid=a)) == {"b": 2}
    assert scene.place(avoid=a) == []
    scene.look(b={"alive": False})
    assert scene.where(scene.place(avoid=a)) == {"a": 1}


def test_a_refused_line_waits_for_another_backend_that_is_expected_back():
    """Not longer than the grace, unless others are known to answer what the one that is left refuses."""
    scene = Scene("a", "b", limit=4, grace_s=60.0)
    a = scene.backends["a"]
    for slot in scene.place(2):
        scene.end(slot, Signal.OK)
    scene.look(b={"alive": False})
    scene.clock.advance(59)
    place = scene.balancer.place
    assert place(Need("m"), a, Avoids.NOW).backend is a
    assert place(Need("m"), a, Avoids.AWHILE) is None
    assert "refused it" in scene.balancer.serving.lacking(Need("m"), but=a)

    scene.clock.advance(1)
    assert place(Need("m"), a, Avoids.AWHILE).backend is a
    assert place(Need("m"), a, Avoids.ALWAYS) is None
    scene.look(b={"models": ("m",)})
    assert place(Need("m"), a, Avoids.ALWAYS).backend.name == "b"
    assert scene.balancer.serving.lacking(Need("m"), but=a) is None


def test_a_backend_that_never_was_in_service_is_not_expected():
    """Configured, and not there: nobody waits for it."""
    scene = Scene("a", "b")
    scene.look(b={"alive": False})

    assert scene.balancer.place(Need("m"), scene.backends["a"], Avoids.AWHILE).backend.name == "a"


def test_a_refused_line_waits_for_a_backend_that_is_reserved():
    """Else it would go to and fro between its ready place and the one that refuses it."""
    scene = Scene("a", "b")
    scene.backends["b"].is_reserved = True

    assert scene.balancer.place(Need("m"), scene.backends["a"], Avoids.AWHILE) is None


def test_a_backend_that_refuses_is_out_at_once_and_tried_again_soon():
    """One line at a time until it has answered one."""
    scene = Scene("a", "b")
    (slot, *_) = [s for s in scene.place(2) if s.backend.name == "a"]

    scene.end(slot, Signal.REFUSED, backend=None)
    assert scene.where(scene.place(4)) == {"b": 4}
    assert scene.balancer.opens_in_s() == 0.25
    scene.clock.advance(0.25)
    sent = scene.place(3)

    assert scene.where(sent) == {"a": 1, "b": 1}


def test_a_backend_that_is_down_leaves_its_lines_in_peace():
    """It may be draining: what it has may still be answered; it gets nothing new."""
    scene = Scene("a", "b")
    scene.place(4)

    assert scene.look(a={"alive": False, "reason": "answers 503"}) == []
    assert scene.where(scene.place(20)) == {"b": 10}
    assert scene.backends["a"].in_flight == 2


def test_a_backend_that_comes_back_is_filled_step_by_step():
    """No stampede, and its full share within seconds although its lines take minutes."""
    scene = Scene("a", limit=64)
    scene.look(a={"alive": False})
    scene.look(a={"alive": True})

    filled = [len(scene.place(100))]
    for _ in range(7):
        scene.look()
        filled.append(filled[-1] + len(scene.place(100)))

    assert filled == [1, 2, 4, 8, 16, 32, 64, 64]


def test_backends_are_tried_again_although_no_line_asks_for_them():
    """While all are out nothing is claimed: waiting for a line to ask would be waiting for ever."""
    scene = Scene("a", "b")
    for slot in scene.place(4):
        scene.end(slot, Signal.REFUSED)
    assert scene.balancer.trouble

    scene.clock.advance(5)
    scene.look()

    assert scene.balancer.trouble is None


def test_a_trial_that_tells_nothing_makes_room_for_the_next():
    """A line that timed out, or was cancelled: the backend is not left half-open for ever."""
    scene = Scene("a", limit=8)
    scene.look(a={"alive": False})
    scene.look(a={"alive": True})

    for _ in range(3):
        (sent,) = scene.place(8)
        scene.end(sent, Signal.NONE)


def test_nginx_gone_is_blamed_on_no_backend():
    """All lines break at once; when nginx is back a single line shows it."""
    scene = Scene("a", "b", limit=40)
    slots = scene.place(40)
    for slot in slots:
        news = News(Signal.REFUSED, None, "takes no connections", is_lost_on_the_way=True)
        scene.balancer.record_result(slot, news)
        scene.balancer.release(slot)

    assert {scene.state("a"), scene.state("b")} == {State.CLOSED}
    assert scene.place(5) == []
    assert scene.balancer.trouble == "nginx takes no connections"
    scene.clock.advance(0.25)
    (sent,) = scene.place(5)
    scene.end(sent, Signal.OK)
    assert len(scene.place(5)) == 2
    assert scene.balancer.trouble is None


def test_an_upstream_that_goes_its_own_way_blames_nobody():
    """Not our nginx: a 502 from there may come from any server behind it."""
    scene = Scene("a", "b")
    for _ in range(9):
        (slot,) = scene.place()
        scene.end(slot, Signal.LOST, backend=None)

    assert {scene.state("a"), scene.state("b")} == {State.CLOSED}


def test_an_upstream_that_does_not_obey_is_told_once(caplog):
    """Another proxy, or our nginx with other names for the servers."""
    scene = Scene("a")
    for _ in range(3):
        (slot,) = scene.place()
        scene.end(slot, Signal.OK, backend=None)

    (record,) = caplog.records
    assert "does not take lines to the backend" in record.getMessage()


def test_a_backend_that_answers_errors_only_gets_little_while_others_work():
    """It is quick and always has the fewest lines: it would burn the attempts of all."""
    scene = Scene("a", "b", limit=40)
    for _ in range(5):
        (slot,) = scene.place(avoid=scene.backends["b"])
        scene.end(slot, Signal.ERROR)

    assert scene.where(scene.place(8)) == {"b": 8}


def test_when_all_answer_errors_only_no_line_is_spent_on_them():
    """They are asked by canaries; one that answers its canary gets lines again."""
    scene = Scene("a", "b", limit=40)
    for _ in range(10):
        (slot,) = scene.place()
        scene.end(slot, Signal.ERROR)

    assert scene.place(8) == []
    assert scene.balancer.trouble is not None
    scene.look()
    assert scene.due.unproven == list(scene.balancer.backends)
    scene.balancer.record_canary(scene.backends["a"], "500")
    scene.balancer.record_canary(scene.backends["b"])
    scene.look()
    assert scene.due.unproven == []
    assert scene.where(scene.place(8)) == {"b": 8}
    assert scene.balancer.trouble is None


def test_a_backend_that_refuses_our_key_is_out_with_its_reason():
    """Until a canary is answered: nothing of a line is spent on finding out."""
    scene = Scene("a", "b", limit=8)
    (slot,) = scene.place(avoid=scene.backends["b"])
    scene.balancer.record_result(slot, News(Signal.UNUSABLE, "a", "refuses our key (401)"))
    scene.balancer.release(slot)

    scene.look()

    assert scene.backends["a"].circuit.reason == "refuses our key (401)"
    assert scene.where(scene.place(8)) == {"b": 8}


def test_a_backend_that_is_full_gets_as_much_as_it_holds():
    """Its circuit stays closed, the others get what it cannot take, and it may grow again."""
    scene = Scene("a", "b", limit=8)
    slots = [slot for slot in scene.place(8) if slot.backend.name == "a"]

    scene.end(slots[0], Signal.FULL)
    scene.end(slots[1], Signal.FULL)

    assert scene.state("a") is State.CLOSED
    assert scene.where(scene.place(8)) == {"b": 2}
    for slot in slots[2:]:
        scene.end(slot, Signal.OK)
    assert len(scene.place(8)) >= 2


def test_a_backend_that_is_full_without_any_line_of_ours_rests_for_a_moment():
    """Others fill it: it is asked again soon, and less often while that stays so."""
    scene = Scene("a", limit=8)
    rests = []
    for _ in range(8):
        (slot,) = scene.place()
        scene.end(slot, Signal.FULL)
        assert scene.place() == []
        rests.append(scene.balancer.opens_in_s())
        scene.clock.advance(rests[-1])

    assert rests == sorted(rests)
    assert rests[-1] == 3.0


def test_what_a_backend_lacks_concerns_only_lines_that_need_it():
    """An endpoint, or room for long requests: one line at a time asks again."""
    scene = Scene("a", limit=8)
    rerank, chat = Need("m", "/v1/rerank"), Need("m", "/v1/chat/completions")
    slot = scene.balancer.place(rerank)
    scene.end(slot, Signal.NONE, lacking=Lacking.ENDPOINT)

    assert scene.balancer.place(rerank) is None
    assert scene.balancer.place(chat) is not None
    assert scene.balancer.serving.lacking(rerank) == "a broke off."
    assert scene.balancer.serving.lacking(chat) is None
    scene.clock.advance(1)
    asked = scene.balancer.place(rerank)
    assert asked.is_question
    assert scene.balancer.place(rerank) is None
    scene.end(asked, Signal.OK)
    assert scene.balancer.serving.lacking(rerank) is None


def test_requests_that_a_proxy_refuses_as_too_large_wait_and_smaller_ones_go():
    """The smallest size that was refused is the bound."""
    scene = Scene("a", limit=20)
    for size in (900, 700, 800):
        slot = scene.balancer.place(scene.balancer.need("m", "/v1/x", 10))
        scene.end(slot, Signal.NONE, lacking=Lacking.SIZE, size_bytes=size)

    fits, large = (scene.balancer.need("m", "/v1/x", size) for size in (699, 700))

    assert scene.balancer.place(fits) is not None
    assert scene.balancer.place(large) is None
    assert scene.balancer.serving.lacking(fits) is None
    scene.clock.advance(31)
    asked = scene.balancer.place(large)
    scene.end(asked, Signal.OK)
    assert scene.balancer.need("m", "/v1/x", 10**9).size_bytes == 0


def test_an_engine_that_stands_still_loses_its_lines():
    """Taken out and told once; one line tries it when it moves again, and only its answer counts."""
    scene = Scene("a", "b", limit=8)
    scene.liveness_of["a"] = Liveness(7, moved_at=scene.clock.at)
    slots = scene.place(4)
    scene.clock.advance(299.0)
    scene.liveness_of["a"] = scene.liveness_of["a"].record_metrics(7, now=scene.clock.at)
    assert scene.look() == []

    scene.clock.advance(2.0)
    scene.liveness_of["a"] = scene.liveness_of["a"].record_metrics(7, now=scene.clock.at)
    assert scene.look() == [scene.backends["a"]]
    assert scene.backends["a"].circuit.reason.startswith("hangs: its engine has done nothing")
    assert scene.look() == []
    for slot in slots:
        scene.end(slot, Signal.HUNG)
    scene.look()
    assert scene.where(scene.place(4)) == {"b": 4}

    scene.liveness_of["a"] = Liveness(8, moved_at=scene.clock.at + 1)
    scene.clock.advance(1)
    for _ in range(3):
        scene.look()
        assert scene.backends["a"].circuit.allowance == 1
    (sent,) = scene.place(4)
    scene.end(sent, Signal.OK)
    assert scene.backends["a"].circuit.allowance == 2


def test_a_silent_backend_gets_nothing_new_and_loses_its_lines_later():
    """After one look without an answer, and after a fifth of the hang time."""
    scene = Scene("a", "b", limit=4)
    scene.place(4)
    scene.clock.advance(5)
    scene.liveness_of["a"] = Liveness(silent_since=scene.clock.at)
    dead = {"alive": False, "reason": "does not answer"}

    assert scene.look(a=dead) == []
    assert scene.state("a") is State.OPEN
    scene.clock.advance(60)
    assert scene.look(a=dead) == [scene.backends["a"]]
    assert scene.look(a=dead) == []


def test_a_busy_backend_that_still_answers_lines_is_not_taken_for_silent():
    """On a small machine the probe's question waits behind the work."""
    scene = Scene("a", limit=4)
    slots = scene.place(4)
    scene.liveness_of["a"] = Liveness(silent_since=scene.clock.at)
    scene.clock.advance(3)
    scene.end(slots[0], Signal.OK)
    scene.clock.advance(2)

    scene.look(a={"alive": False, "reason": "does not answer"})

    assert scene.state("a") is State.CLOSED
    for _ in range(20):  # for as long as it answers lines, and a fifth of the hang time longer
        scene.clock.advance(10)
        scene.end(slots.pop(), Signal.OK)
        slots += scene.place()
        assert scene.look() == []
    assert scene.state("a") is State.CLOSED
    scene.clock.advance(60)
    assert scene.look() == [scene.backends["a"]]


def test_a_backend_that_answers_a_line_after_it_fell_silent_is_filled_again():
    """It was taken out before its first answer came: only its answers to questions are late."""
    scene = Scene("a", limit=4)
    (slot, *_) = scene.place(4)
    scene.liveness_of["a"] = Liveness(silent_since=scene.clock.at)
    scene.clock.advance(5)
    scene.look(a={"alive": False, "reason": "does not answer"})
    assert scene.state("a") is State.OPEN

    scene.clock.advance(1)
    scene.end(slot, Signal.OK)
    for _ in range(4):
        scene.look()

    assert scene.state("a") is State.CLOSED


def test_a_line_goes_to_a_backend_that_lists_its_model():
    """However few lines the other one has; and back when it serves it again."""
    scene = Scene("a", "b", limit=8)
    scene.look(b={"models": ("other",)})

    assert scene.where(scene.place(9)) == {"a": 4}
    scene.look(b={"models": ("m",)})
    assert scene.where(scene.place(9)) == {"b": 4}


def test_a_model_that_nobody_serves_waits_and_is_named():
    """Unless unlisted models are allowed: then any backend is asked."""
    scene = Scene("a", "b")

    assert scene.place(model="lost") == []
    assert not scene.balancer.serving.can_serve("lost")
    assert [scene.balancer.serving.is_unserved(model) for model in ("m", "lost")] == [False, True]

    free = Scene("a", "b", knows_models=False)
    assert len(free.place(model="lost")) == 1
    assert not free.balancer.serving.is_unserved("lost")


def test_a_backend_that_lists_nothing_may_serve_anything():
    """Servers without /v1/models are used all the same."""
    scene = Scene("a")
    scene.look(a={"models": ()})

    assert len(scene.place(model="lost")) == 1


def test_a_backend_that_denies_a_model_that_it_lists_is_asked_again_with_one_line():
    """The others get the lines meanwhile; its own list, read anew, may say so as well."""
    scene = Scene("a", "b", limit=8)
    (slot,) = scene.place(avoid=scene.backends["b"])
    scene.end(slot, Signal.NONE, lacking=Lacking.MODEL)

    slots = scene.place(9)
    assert scene.where(slots) == {"b": 8}
    scene.clock.advance(1)
    (sent,) = scene.place(9)
    scene.end(sent, Signal.NONE, lacking=Lacking.MODEL)
    scene.look(a={"models": ("other",)})
    scene.clock.advance(31)
    assert scene.place(9) == []
    scene.look(a={"models": ("m",)})
    assert scene.where(scene.place(9)) == {"a": 4}


def test_a_model_that_the_last_backend_denies_waits_for_its_grace():
    """Then it is gone; served again in between, the grace begins anew."""
    scene = Scene("a", grace_s=60.0)
    for _ in range(2):
        (slot,) = scene.place()
        scene.end(slot, Signal.NONE, lacking=Lacking.MODEL)
        scene.look(a={"models": ("other",)})
        assert not scene.balancer.serving.is_gone("m")
        assert scene.balancer.serving.lacking(Need("m")) == "No backend in service serves m."
        scene.clock.advance(59)
        assert not scene.balancer.serving.is_gone("m")
        scene.look(a={"models": ("m",)})
        assert not scene.balancer.serving.is_gone("m")
        scene.clock.advance(2)

    scene.look(a={"models": ("other",)})
    assert not scene.balancer.serving.is_gone("m")
    scene.clock.advance(60)
    assert scene.balancer.serving.is_gone("m")
    assert scene.balancer.serving.models == ["other"]


def test_a_model_is_not_gone_while_a_server_that_lists_it_is_asked_once_more():
    """It denied it all the while, and is asked at least so often that it is noticed when it is mended."""
    scene = Scene("a", grace_s=60.0)
    asked = []
    for _ in range(200):
        if slots := scene.place():
            asked.append(scene.clock.at)
            assert not scene.balancer.serving.is_gone("m")
            scene.clock.advance(0.4)
            scene.end(slots[0], Signal.NONE, lacking=Lacking.MODEL)
        if scene.balancer.serving.is_gone("m"):
            break
        scene.clock.advance(0.5)

    assert 60 < scene.clock.at - asked[0] < 75
    assert max(later - before for before, later in pairwise(asked)) <= 12


def test_a_model_is_not_gone_while_a_server_that_had_it_is_down():
    """It comes back with it, however long that takes; nor while nobody is there."""
    scene = Scene("a", "b", grace_s=60.0)
    scene.look(a={"models": ("other",)}, b={"models": ("m",), "alive": False})
    scene.clock.advance(600)
    assert not scene.balancer.serving.is_gone("m")

    scene.look(b={"models": ("other",)})
    assert not scene.balancer.serving.is_gone("m")
    scene.clock.advance(50)
    scene.look(a={"alive": False}, b={"alive": False})
    scene.clock.advance(600)
    scene.look(a={"models": ("other",)}, b={"models": ("other",)})
    assert not scene.balancer.serving.is_gone("m")


@pytest.mark.parametrize("urls", [(), ("http://127.0.0.1:8000",)])
def test_without_nginx_there_is_one_place_and_no_name_to_send(urls):
    """An upstream that is the model server itself."""
    balancer = Balancer(NGINX, urls, hang=HangLimits(None), clock=MovedClock())

    assert [(b.name, b.pin) for b in balancer.backends] == [("127.0.0.1:8000", None)]


def test_why_nothing_can_be_sent_is_told():
    """Every backend with its own reason."""
    scene = Scene("a", "b")
    scene.look(a={"alive": False, "reason": "answers 503"})
    assert scene.balancer.trouble is None

    scene.look(b={"alive": False, "reason": "is gone"})

    assert scene.balancer.trouble == "a answers 503; b is gone"


def test_a_backend_with_other_models_than_most_is_named_once(caplog):
    """Somebody may have started it with the wrong one."""
    scene = Scene("a", "b", "c")
    for _ in range(3):
        scene.look(b={"models": ("other",)})

    assert [r.getMessage() for r in caplog.records] == [
        "backend b serves other models than most: other"
    ]
