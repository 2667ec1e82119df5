"""The controller: grows while engines have room, shrinks with long queues, obeys its bound."""

from __future__ import annotations

from batchline.model import BackendStatus
from dispatcher.probing.governor import BLIND_PER_BACKEND, Governor


def backend(running=None, waiting=None, *, alive=True, is_stale=False):
    return BackendStatus(
        "b",
        "http://b",
        alive=alive,
        since=0,
        running=running,
        waiting=waiting,
        is_stale=is_stale,
    )


def settle(governor, slots, steps=60):
    """Let the controller act on engines with `slots` slots each."""
    for _ in range(steps):
        share = governor.limit / len(slots)
        engines = [backend(int(min(share, s)), int(max(0, share - s))) for s in slots]
        governor = governor.step(engines, in_flight=governor.limit)
    return governor


def test_it_finds_a_short_queue_for_engines_of_any_size():
    """Between 1.0 and 1.5 times the slots, without being told."""
    for slots in ([256], [256] * 8, [1024], [64, 64]):
        assert sum(slots) <= settle(Governor.start(bound=None), slots).limit <= 1.5 * sum(slots)


def test_it_fills_large_engines_within_a_few_looks_and_then_grows_slowly():
    """From 32 to a thousand by doubling; after the first queue by a quarter."""
    assert settle(Governor.start(bound=None), [1024], steps=6).limit >= 1024

    full = Governor.start(bound=None).step([backend(32, 1)], in_flight=33)
    assert full.step([backend(full.limit, 0)], in_flight=full.limit).limit < 1.5 * full.limit


def test_it_never_exceeds_the_bound():
    """max_in_flight wins."""
    assert settle(Governor.start(bound=100), [256, 256]).limit == 100


def test_it_does_not_grow_when_there_is_little_to_send():
    """A limit that nobody reaches says nothing about the engines."""
    governor = Governor(64)
    assert governor.step([backend(5, 0)], in_flight=5).limit == 64


def test_without_metrics_each_backend_gets_a_fixed_share():
    """Or the bound, where one is set."""
    assert (
        Governor.start(bound=None).step([backend()] * 3, in_flight=1).limit == 3 * BLIND_PER_BACKEND
    )
    assert Governor.start(bound=500).step([backend()], in_flight=1).limit == 500


def test_backends_that_come_and_go_take_their_part_of_the_limit_along():
    """Half the fleet gets half the limit; with nobody alive it is kept."""
    both, one = [backend(100, 20)] * 2, [backend(100, 20)]

    half = Governor(240, alive=2).step(one, in_flight=100)
    none = half.step([backend(alive=False)], in_flight=0)
    again = none.step(both, in_flight=100)

    assert (half.limit, none.limit, again.limit) == (120, 120, 240)


def test_a_backend_that_is_late_to_tell_changes_nothing():
    """Old figures let the limit neither grow nor fall; one that never told is a blind one."""
    governor = Governor(300, alive=1)

    for waiting in (0, 200):
        late = [backend(240, waiting, is_stale=True)]
        assert governor.step(late, in_flight=300).limit == 300
    assert governor.step([backend(is_stale=True)], in_flight=300).limit == BLIND_PER_BACKEND


def test_those_that_tell_stand_for_those_that_do_not():
    """A long queue at one of two leaves both the limit that it needs."""
    one = backend(200, 100)

    for other in (backend(is_stale=True), backend(200, 0, is_stale=True), backend()):
        assert Governor(600, alive=2).step([one, other], in_flight=600).limit == 500
