"""Two handlers of your own. Copy this file into the folder of BATCHLINE_HANDLERS_FOLDER, and change it.

Each batch that ends is handed to every handler, in a process of its own. An attempt that fails is repeated
for 72 hours, and one that was killed, too: write such that a repeated attempt changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchline.handlers import Context, EndedBatch, Results, register_handler


@register_handler
class Answers:
    """The form with a stream of results. It writes what the model said into a text file.

    Set it up in the handlers' file (BATCHLINE_HANDLERS_FILE):

        my-answers:
          folder: /exports
    """

    name = "my-answers"  # what the handlers' file, the list of deliveries and the log call it

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Whether it runs with these settings; without this method, a handler of the folder does."""
        if settings and "folder" not in settings:
            raise ValueError("'folder' is missing: it is where the answers go")
        return bool(settings)

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        folder = Path(context.settings["folder"])
        unfinished = folder / f".{batch.id}.txt"
        with unfinished.open("w", encoding="utf-8") as file:
            async for result in results:  # in the order of the input file
                if result.is_answered:
                    file.write(f"{result.custom_id}: {result.text}\n")
                else:
                    file.write(f"{result.custom_id} failed: {result.error}\n")
        unfinished.rename(folder / f"{batch.id}.txt")  # complete, or not there


@register_handler
class Summary:
    """The plain form, for code that is not asynchronous. What it prints goes to the deliverer's log."""

    name = "my-summary"

    def handle(
        self, batch_id: str, results: Sequence[dict[str, Any]], metadata: dict[str, str]
    ) -> bool:
        """Get the lines of the result files as dicts. False, or an exception: try it again later."""
        failed = [line["custom_id"] for line in results if not self._is_answered(line)]
        print(f"{batch_id} {metadata}: {len(results)} results, failed: {failed}")
        return True

    def _is_answered(self, line: dict[str, Any]) -> bool:
        response = line["response"]
        return response is not None and response["status_code"] == 200  # noqa: PLR2004
