"""The handler of a history: records what it gets, and fails where that was planned.

`RECORDER_FOLDER` holds its plan, which `chaos.handling` writes, and its record, which that reads: a JSON object a
line, each behind its newline, since a death may tear the last.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from pathlib import Path

from waiting import pass_time

from batchline.handlers import register_handler

_FOLDER = Path(os.environ["RECORDER_FOLDER"])
_PAUSES = 10


@register_handler
class Recorder:
    """Each attempt is a run; what it records bears the run's id."""

    name = "recorder"

    async def handle(self, batch, results, context):
        """Record each result, with a checkpoint now and then."""
        plan = json.loads((_FOLDER / "plan.json").read_text())
        run = Run(secrets.token_hex(4), failing_at(plan, batch, context.attempt), batch.total)
        run.record(
            "begins",
            batch=batch.id,
            key=context.idempotency_key,
            start=context.start,
            state=context.state,
            pid=os.getpid(),
        )
        every, lines_a_pause = plan["checkpoint_every"], max(1, batch.total // _PAUSES)
        async for result in results:
            run.fail_if_due(results.taken - 1)
            run.record("line", line=result.line)
            if every and results.taken % every == 0:
                run.record("checkpoint", taken=results.taken)  # first, since it may be kept at once
                await context.checkpoint({"taken": results.taken})
            if plan["takes_s"] and results.taken % lines_a_pause == 0:
                await pass_time(plan["takes_s"] / _PAUSES)
        run.fail_if_due(batch.total)
        run.record("ends", how="well")


class Run:
    """One attempt. `failure`: at which share of all results it fails, and how; None: it does not."""

    def __init__(self, name, failure, total):
        self._name = name
        self._failure = failure
        self._total = total

    def record(self, what, **values):
        """Write it down for certain: this process may die at once."""
        line = json.dumps({"run": self._name, "at": time.monotonic(), "what": what} | values)
        with (_FOLDER / "record.jsonl").open("ab", buffering=0) as file:
            file.write(f"\n{line}".encode())

    def fail_if_due(self, taken):
        """Fail, if it is to at so many results."""
        if self._failure is None:
            return
        share, how = self._failure
        if taken < int(share * self._total):
            return
        self.record("ends", how=how)
        match how:
            case "kill -9":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(0)
            case _:
                raise RuntimeError("as it was planned")


def failing_at(plan, batch, attempt):
    """Return how this attempt fails; one at a batch that runs another's failed lines again does not."""
    planned = plan["failures"].get(batch.metadata.get("name"), [])
    if "retry_of" in batch.metadata or attempt > len(planned):
        return None
    return planned[attempt - 1]
