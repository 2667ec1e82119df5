"""One attempt after the other at the one delivery of a bench."""

from __future__ import annotations


async def attempted(bench):
    """Attempt once what is pending; return its state, its last error and how many lines are done."""
    bench.clock.advance(3600)
    await bench.round()
    delivery = await bench.delivery()
    return delivery.state, delivery.last_error, delivery.lines_done


async def replayed(bench):
    """Replay it, and attempt that once."""
    delivery = await bench.delivery()
    await bench.store.replay_delivery(delivery.number, now=int(bench.clock.now()))
    return await attempted(bench)
