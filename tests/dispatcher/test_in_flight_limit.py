"""The controller: grows while engines have room, shrinks with long queues, obeys its bound."""

from __future__ import annotations

from batchline.model import BackendStatus
from dispatcher.probing.in_flight_limit import BLIND_PER_BACKEND, InFlightLimit


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


def settle(limit, slots, steps=60):
    """Let the controller act on engines with `slots` slots each."""
    for _ in range(steps):
        share = limit.value / len(slots)
        engines = [backend(int(min(share, s)), int(max(0, share - s))) for s in slots]
        limit = limit.step(engines, in_flight=limit.value)
    return limit


def test_it_finds_a_short_queue_for_engines_of_any_size():
    """Between 1.0 and 1.5 times the slots, without being told."""
    for slots in ([256], [256] * 8, [1024], [64, 64]):
        assert (
            sum(slots) <= settle(InFlightLimit.start(bound=None), slots).value <= 1.5 * sum(slots)
        )


def test_it_fills_large_engines_within_a_few_looks_and_then_grows_slowly():
    """From 32 to a thousand by doubling; after the first queue by a quarter."""
    assert settle(InFlightLimit.start(bound=None), [1024], steps=6).value >= 1024

    full = InFlightLimit.start(bound=None).step([backend(32, 1)], in_flight=33)
    assert full.step([backend(full.value, 0)], in_flight=full.value).value < 1.5 * full.value


def test_it_never_exceeds_the_bound():
    """max_in_flight wins."""
    assert settle(InFlightLimit.start(bound=100), [256, 256]).value == 100


def test_it_does_not_grow_when_there_is_little_to_send():
    """A limit that nobody reaches says nothing about the engines."""
    limit = InFlightLimit(64)
    assert limit.step([backend(5, 0)], in_flight=5).value == 64


def test_without_metrics_each_backend_gets_a_fixed_share():
    """Or the bound, where one is set."""
    assert (
        InFlightLimit.start(bound=None).step([backend()] * 3, in_flight=1).value
        == 3 * BLIND_PER_BACKEND
    )
    assert InFlightLimit.start(bound=500).step([backend()], in_flight=1).value == 500


def test_backends_that_come_and_go_take_their_part_of_the_limit_along():
    """Half the fleet gets half the limit; with nobody alive it is kept."""
    both, one = [backend(100, 20)] * 2, [backend(100, 20)]

    half = InFlightLimit(240, alive=2).step(one, in_flight=100)
    none = half.step([backend(alive=False)], in_flight=0)
    again = none.step(both, in_flight=100)

    assert (half.value, none.value, again.value) == (120, 120, 240)


def test_a_backend_that_is_late_to_tell_changes_nothing():
    """Old figures let the limit neither grow nor fall; one that never told is a blind one."""
    limit = InFlightLimit(300, alive=1)

    for waiting in (0, 200):
        late = [backend(240, waiting, is_stale=True)]
        assert limit.step(late, in_flight=300).value == 300
    assert limit.step([backend(is_stale=True)], in_flight=300).value == BLIND_PER_BACKEND


def test_those_that_tell_stand_for_those_that_do_not():
    """A long queue at one of two leaves both the limit that it needs."""
    one = backend(200, 100)

    for other in (backend(is_stale=True), backend(200, 0, is_stale=True), backend()):
        assert InFlightLimit(600, alive=2).step([one, other], in_flight=600).value == 500
