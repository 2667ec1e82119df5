"""Imports the results of a batch as tasks: in chunks, each task once, whatever died in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from batchline.handlers import Context, EndedBatch, Results

from .client import open_client
from .imported_tasks import Chunk, Imported
from .project import find_project
from .settings import LabelStudioSettings, is_off, read_settings
from .tasks import Tasks

_MOST_TASKS = 500
_ENOUGH_BYTES = (
    1 << 19
)  # a proxy before it may take 1 MB, as nginx does unless it is told otherwise


class LabelStudio:
    """The handler."""

    name = "label-studio"
    wants_requests = True

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Run unless the token is empty. Raises ValueError."""
        return not is_off(settings) and read_settings(settings) is not None

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Import what earlier attempts did not. Raises LabelStudioError, GiveUp."""
        settings = read_settings(context.settings)
        async with open_client(settings) as client:
            project = await find_project(client, settings)
            tasks = Tasks(batch, project, settings)
            imported = Imported(client, project, batch)
            await imported.open()
            many = int(context.state or 0)
            async for chunk in _chunks(tasks, results, settings):
                await imported.add(chunk)
                many += len(chunk)
                await context.checkpoint(many)
            await imported.take_back_doubles(many)


async def _chunks(
    tasks: Tasks, results: Results, settings: LabelStudioSettings
) -> AsyncIterator[Chunk]:
    """Yield chunks of tasks; each has all of the results taken so far that make any."""
    chunk: dict[str, bytes] = {}
    size = 0
    async for result in results:
        if result.is_answered or settings.include_failed:
            chunk[result.custom_id] = msgspec.json.encode(tasks.task(result))
            size += len(chunk[result.custom_id])
        if len(chunk) >= _MOST_TASKS or size >= _ENOUGH_BYTES:
            yield chunk
            chunk, size = {}, 0
    if chunk:
        yield chunk
