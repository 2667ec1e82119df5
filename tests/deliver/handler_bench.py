"""A deliverer in this process that runs handlers, each in a process of its own."""

from __future__ import annotations

import os
import textwrap

import yaml
from delivery_bench import DeliveryBench
from ended_batches import ended_batch_of

from batchline.metrics import Metrics
from deliver.deliverer import LEASE_S, Wanted
from deliver.handling.attempts import HandlerAttempts
from deliver.handling.survey import survey


class HandlerBench(DeliveryBench):
    """What a test drives: handlers of a folder, batches that end completed, rounds of the deliverer."""

    def __init__(self, store, blobs, clock, poster, make_batch, found):
        self.blobs, self.survey = blobs, found
        metrics = Metrics()
        handlers = HandlerAttempts(
            store,
            blobs,
            found.installed,
            lease_s=LEASE_S,
            metrics=metrics,
            clock=clock,
            luck=lambda: 1.0,
        )
        wanted = Wanted([one.standing for one in found.installed])
        super().__init__(
            store, clock, poster, make_batch, wanted, metrics=metrics, handlers=handlers
        )

    async def completed(self, lines, **fields):
        """Let a batch of so many lines end, with its files."""
        return await ended_batch_of(self.store, self.blobs, self._make_batch, lines, **fields)


async def survey_of(tmp_path, code="", *, sections=None, environment=os.environ):
    """Look for handlers: `code` is a file of the folder, `sections` the handlers' file."""
    folder = tmp_path / "handlers"
    folder.mkdir(exist_ok=True)
    if code:
        head = "from batchline.handlers import *\n"
        (folder / "mine.py").write_text(head + textwrap.dedent(code))
    file = None
    if sections is not None:
        file = tmp_path / "handlers.yaml"
        file.write_text(sections if isinstance(sections, str) else yaml.safe_dump(sections))
    return await survey(file, folder, environment)
