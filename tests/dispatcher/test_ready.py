"""The queue before the balancer: order, and lines that only some backends may take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from test_balancer import Scene

from batchline.model import Batch
from batchline.states import BatchStatus
from dispatcher.attempts.leased_slices import Held, ReadyLine
from dispatcher.backends.circuit import Signal
from dispatcher.backends.lacks import Lacking, Need
from dispatcher.sending.memory import Memory
from dispatcher.sending.ready import AHEAD_LINES, Ready


def held(model, seq=1):
    batch = Batch(
        seq, f"b{seq}", BatchStatus.IN_PROGRESS, "/v1/x", "f", "k", "24h", 0, 1, model=model
    )
    return Held(batch, SimpleNamespace(), 9, 0.0)


def line(index, of, model="m"):
    body = b'{"model": "%s"}' % model.encode()
    return ReadyLine(of, index, f"req-{index}", f"id-{index}", body, size_bytes=len(body))


def queue(scene):
    return Ready(scene.balancer, Memory(most_bytes=1 << 20))


@pytest.fixture
def scene():
    """Backend a serves m, backend b serves n; four lines each."""
    scene = Scene("a", "b", limit=8)
    scene.look(b={"models": ("n",)})
    return scene


def taken(ready):
    """Take all that can be placed; return (line number, backend)."""
    found = []
    while (one := ready.next()) is not None:
        found.append((one[0].index, one[1].backend.name))
    return found


def test_lines_are_placed_in_order():
    """The first that came is the first that goes; one that is put back goes before all."""
    scene = Scene("a", limit=3)
    ready, batch = queue(scene), held("m")
    ready.add([line(1, batch), line(2, batch), line(3, batch), line(4, batch)])
    ready.add_first(line(0, batch))

    assert taken(ready) == [(0, "a"), (1, "a"), (2, "a")]
    assert len(ready) == 2


def test_a_model_without_room_does_not_hold_up_another_one(scene):
    """Its lines step aside, and go first when there is room."""
    ready = queue(scene)
    ready.add([line(i, held("m")) for i in range(6)] + [line(9, held("n"))])

    slots = [ready.next() for _ in range(5)]

    assert [(one.index, slot.backend.name) for one, slot in slots] == [
        *((i, "a") for i in range(4)),
        (9, "b"),
    ]
    assert ready.next() is None
    ready.add([line(7, held("m"))])
    scene.balancer.release(slots[0][1])
    assert taken(ready) == [(4, "a")]


def test_no_more_is_wanted_of_a_model_that_enough_lines_wait_for(scene):
    """Else one model's lines would be claimed without end while another one's are sent."""
    ready, batch = queue(scene), held("m")
    ready.add(line(i, batch) for i in range(AHEAD_LINES + 4))
    assert ready.wants(Need("m", "/v1/x"))

    taken(ready)

    assert not ready.wants(Need("m", "/v1/x"))
    assert ready.wants(Need("n"))
    assert not ready.wants(Need("nobody's"))


def test_lines_of_a_slice_that_is_lost_are_forgotten(scene):
    """Ready or set aside."""
    ready, lost = queue(scene), held("m")
    ready.add(line(i, lost) for i in range(6))
    assert len(taken(ready)) == 4
    lost.is_dropped = True
    ready.add([line(7, lost), line(8, held("n"))])

    assert taken(ready) == [(8, "b")]
    assert ready.wants(Need("m", "/v1/x"))


def test_each_line_of_a_mixed_batch_is_asked_for_its_model(scene):
    """Of a batch for one model it is the batch's."""
    ready, mixed = queue(scene), held(None)

    assert [ready.need(line(0, mixed, model)).model for model in "mnx"] == ["m", "n", "x"]
    assert ready.need(line(0, held("m"), "n")).model == "m"
    assert ready.need(ReadyLine(mixed, 0, "r", "i", b"{}")).model is None


def test_lines_of_a_model_that_is_gone_wait_no_longer(scene):
    """Parked, ready or still to be claimed; lines of a slice that was given back are nobody's."""
    ready, mixed, lost = queue(scene), held(None), held(None, 2)
    ready.add([line(0, mixed, "x"), line(1, mixed, "m"), line(2, lost, "x")])
    assert taken(ready) == [(1, "a")]
    assert list(ready.gone()) == []
    assert ready.waiting() == dict.fromkeys(("b1", "b2"), "No backend in service serves x.")
    lost.is_dropped = True

    scene.clock.advance(60)
    assert [one.index for one in ready.gone()] == [0]
    assert ready.waiting() == {}
    assert ready.wants(Need("x"))
    ready.add([line(4, mixed, "x")])
    assert ready.next() is None
    assert [one.index for one in ready.gone()] == [4]


def test_lines_that_are_too_long_for_a_proxy_hold_up_no_shorter_ones(scene):
    """Neither of another batch nor of their own."""
    ready, long, short = queue(scene), held("m", 1), held("m", 2)
    slot = scene.balancer.place(Need("m", "/v1/x"))
    scene.end(slot, Signal.NONE, lacking=Lacking.SIZE, size_bytes=50)
    ready.add([line(0, long, "m" * 50), line(1, short)])

    assert taken(ready) == [(1, "a")]
    assert ready.wants(Need("m", "/v1/x"))
    assert list(ready.waiting()) == ["b1"]
