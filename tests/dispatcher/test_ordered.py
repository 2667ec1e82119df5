"""Keys in order."""

from __future__ import annotations

import random

from dispatcher.sending.ordered import Ordered


def test_the_smallest_key_comes_first_whatever_came_and_went():
    """As a search through all of them would find it; what went leaves nothing behind."""
    dice = random.Random(1)
    ordered, keys = Ordered(), set()
    for _ in range(5000):
        key = (dice.randrange(50), dice.randrange(50))
        if dice.random() < 0.5:
            ordered.add(key)
            keys.add(key)
        else:
            ordered.discard(key)
            keys.discard(key)
        assert ordered.first() == min(keys, default=None)
        assert len(ordered) == len(keys)


def test_keys_that_went_take_no_memory():
    """However many there were: what stays long in front does not keep those behind it."""
    ordered = Ordered()
    ordered.add((0,))
    for key in range(1, 10_000):
        ordered.add((key,))
        ordered.discard((key,))

    assert len(ordered._heap) < 100
