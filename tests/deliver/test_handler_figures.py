"""What /metrics tells of handlers."""

from __future__ import annotations

LATER_S = 60.0
"""A second and a third attempt are due by then."""


async def test_attempts_are_counted_by_what_came_of_them(make_handlers):
    """One that raises has failed, one whose process ends without a word has died; both are tried again."""
    bench = await make_handlers("""
        import os

        @register_handler
        class Mine:
            name = "mine"

            async def handle(self, batch, results, context):
                if batch.total == 1:
                    raise GiveUp("never")
                await results.__anext__()
                await context.checkpoint()
                if context.attempt == 1:
                    raise ValueError("not now")
                if context.attempt == 2:
                    os._exit(7)
    """)
    await bench.completed(1)
    await bench.completed(3)

    await bench.round()
    for _ in range(2):
        bench.clock.advance(LATER_S)
        await bench.round()

    def counted(name, **labels):
        return bench.metrics.registry.get_sample_value(name, {"handler": "mine", **labels})

    attempts = {
        outcome: counted("batchline_handler_attempts_total", outcome=outcome)
        for outcome in ("done", "failed", "died", "given_up")
    }
    assert attempts == {"done": 1, "failed": 1, "died": 1, "given_up": 1}
    assert counted("batchline_handler_lines_total") == 3
    assert counted("batchline_handler_attempt_duration_seconds_count") == 4
