"""The lines of a batch that still runs: those finished so far, or as they finish; and `batchline errors`.

The server sends successes and failures together. They are separated here, so that a command writes the
same kind of lines before the end and after it. Standard output gets nothing but the lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from batchline import figures
from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.patience import PATIENCE_S, Patience
from batchline.cli.api.resolve import LAST, resolve
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean, put, say

_OK = range(200, 300)


def errors(
    *,
    batch: BatchRef = LAST,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Write the lines that failed so far, or the faults of a refused file: JSON lines unless read by eye."""
    count = 0
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        with client.result_lines(seen.id, "errors") as lines:
            for line in lines:
                count += 1
                put(_readable(line) if sys.stdout.isatty() and not as_json else line.decode())
    if not count:
        say("No line failed." if seen.has_ended else "No line has failed so far.", mark="✓")


def write_finished(client: Client, batch: ApiBatch, *, errors: bool) -> None:
    """Write what has finished so far to standard output. Raises Failure."""
    with _standard_output() as sink, client.result_lines(batch.id, "results") as lines:
        for line in lines:
            if is_success(line) is not errors:
                sink.write(_shown(line))
    done = f"{figures.count(batch.finished)} of {figures.count(batch.total)} lines are finished"
    say(
        f"{clean(batch.name, limit=80)} still runs: {done}. --follow waits for the others.",
        mark="!",
    )


def follow_results(client: Client, batch: ApiBatch, *, errors: bool) -> ApiBatch:
    """Write lines as they finish until the batch has ended; return it then. Raises Failure."""
    with _standard_output() as sink:

        def take(line: bytes) -> None:
            if is_success(line) is not errors:
                sink.write(_shown(line))
                sink.flush()

        try:
            follow_lines(client, batch.id, take)
        except KeyboardInterrupt:
            raise Failure(
                "Stopped following. The batch is still running on the server.",
                remedy=f"batchline results {batch.id} --follow",
                code=ExitCode.INTERRUPTED,
            ) from None
    return client.batch(batch.id)


def follow_lines(
    client: Client,
    batch_id: str,
    take: Callable[[bytes], None],
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Call `take` with every line, each once, even if connections break off meanwhile.

    Raises Failure when the server did not answer for `patience_s`.
    """
    patience = Patience(patience_s)
    received = 0

    def listen() -> None:
        nonlocal received
        with client.result_lines(batch_id, "results", after=received, follow=True) as lines:
            for line in lines:
                take(line)
                received += 1
                patience.heard()

    patience.keep_trying(
        listen, tell=lambda failure: say(f"{failure.what} Still trying.", mark="!")
    )


def is_success(line: bytes) -> bool:
    """Whether a result line belongs to the output file."""
    response = json.loads(line).get("response") or {}
    return response.get("status_code") in _OK


def _standard_output() -> BinaryIO:
    # A buffer of our own: with PYTHONUNBUFFERED, Python's would lose the rest of a short write.
    return open(sys.stdout.fileno(), "wb", closefd=False)


def _shown(line: bytes) -> bytes:
    if sys.stdout.isatty():
        line = clean(line.decode("utf-8", "replace")).encode()
    return line + b"\n"


def _readable(line: bytes) -> str:
    """Write one failed line, or one fault, for people."""
    fields: dict[str, Any] = json.loads(line)
    error = fields.get("error") or {}
    response = fields.get("response") or {}
    if response:
        body = response.get("body")
        inner = body.get("error") if isinstance(body, dict) else None
        error = inner if isinstance(inner, dict) else {}
    number = error.get("line")
    what = fields.get("custom_id") or (f"line {number}" if number else "file")
    why = response.get("status_code") or error.get("code") or ""
    return (
        f"{clean(str(what), limit=40):<20} {why}  {clean(str(error.get('message', '')), limit=300)}"
    )
