"""Handlers whose process ends on its own: their delivery says how it ended, and nothing breaks."""

from __future__ import annotations

import logging

from batchline.webhooks.records import DeliveryState

KILLED = "The handler failed: it was ended by signal 9"


async def test_a_handler_that_dies_before_it_has_read_all_is_told_by_its_end(make_handlers, caplog):
    """What it had not read resets the connection: that is no fault of the deliverer, and not the reason."""
    bench = await make_handlers("""
        import os, signal

        @register_handler
        class Mine:
            name = "mine"

            async def handle(self, batch, results, context):
                async for one in results:
                    os.kill(os.getpid(), signal.SIGKILL)
    """)
    await bench.completed(10_000)

    await bench.round()

    delivery = await bench.delivery()
    assert (delivery.state, delivery.last_error) == (DeliveryState.PENDING, KILLED)
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == []
