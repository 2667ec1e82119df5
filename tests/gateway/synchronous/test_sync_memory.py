"""What calls hold in memory."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from batchline.errors import TooLarge, Unavailable
from gateway.synchronous.memory import Memory


def test_one_call_holds_at_most_a_quarter():
    """So that none keeps all others out."""
    memory = Memory(400)

    with memory.share() as share:
        share.take(100)
        with pytest.raises(TooLarge, match=r"may have 100 bytes.*BATCHLINE_SYNC_MAX_HELD_BYTES"):
            share.take(1)


def test_all_calls_together_are_bounded_and_give_back_what_they_held():
    """At their end, whatever it was."""
    memory = Memory(400)

    with ExitStack() as calls:
        shares = [calls.enter_context(memory.share()) for _ in range(5)]
        for share in shares[:4]:
            share.take(100)
        with pytest.raises(Unavailable, match="hold 400 bytes"):
            shares[4].take(1)
        most = memory.held_bytes

    assert (most, memory.held_bytes) == (400, 0)


def test_what_is_given_back_is_free_again():
    """For the same call, and for others."""
    memory = Memory(400)

    with memory.share() as share:
        share.take(90)
        share.give(50)
        share.take(60)

        assert memory.held_bytes == 100
