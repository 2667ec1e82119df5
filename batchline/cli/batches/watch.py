"""`batchline watch`, and how other commands follow a batch to its end.

Polls the batch, also while the server restarts, and gives each state to a `Screen`.
"""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from batchline import figures
from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, FailOnErrors, Url
from batchline.cli.api.pace import Pace
from batchline.cli.api.patience import PATIENCE_S, Patience
from batchline.cli.api.resolve import LAST, resolve
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean, put, say, status_words
from batchline.states import BatchStatus

from .watch_screens import JsonScreen, LiveScreen, PlainScreen, QuietScreen, Screen

_POLL_S = 1.0
_FAULTS_SHOWN = 20
_FAULT_CHARS = 1000  # the reason of a pause quotes three messages of model servers


def watch(
    *,
    batch: BatchRef = LAST,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks")
    ] = _POLL_S,
    wait: Annotated[bool, typer.Option("--wait", help="Write only how it ended")] = False,
    fail_on_errors: FailOnErrors = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Follow a batch until it ends; Ctrl-C leaves it running."""
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        ended = follow(
            client, seen, choose_screen(as_json=as_json, quiet=wait), interval_s=interval
        )
    if not as_json:
        put(final_line(ended))
    tell_next(ended)
    raise typer.Exit(exit_code(ended, fail_on_errors=fail_on_errors))


def follow(
    client: Client,
    batch: ApiBatch,
    screen: Screen,
    *,
    interval_s: float = _POLL_S,
    patience_s: float = PATIENCE_S,
) -> ApiBatch:
    """Poll the batch until it has ended; return its last state.

    Raises Failure when the server did not answer for `patience_s`, or on Ctrl-C.
    """
    pace = Pace()
    try:
        with screen.opened():
            while True:
                now_s = time.monotonic()
                pace.observe(batch, at_s=now_s, now=time.time())
                screen.show(batch, pace, now_s=now_s)
                if batch.has_ended:
                    return batch
                time.sleep(interval_s)
                batch = _look(client, batch, screen, interval_s=interval_s, patience_s=patience_s)
    except KeyboardInterrupt:
        raise Failure(
            "Stopped watching. The batch is still running on the server.",
            remedy=f"batchline watch {batch.id}",
            code=ExitCode.INTERRUPTED,
        ) from None


def _look(
    client: Client, batch: ApiBatch, screen: Screen, *, interval_s: float, patience_s: float
) -> ApiBatch:
    return Patience(patience_s, pause_s=interval_s).keep_trying(
        lambda: client.batch(batch.id),
        tell=lambda failure: screen.trouble(f"{failure.what} Still trying."),
    )


def choose_screen(*, as_json: bool, quiet: bool, talk: bool = False) -> Screen:
    """Return the screen for the options: JSON lines, silence, a live frame on a terminal, or plain lines.

    `talk`: on standard error, because standard output carries other data.
    """
    stream = sys.stderr if talk else sys.stdout
    if quiet:
        return QuietScreen()
    if as_json:
        return JsonScreen()
    return LiveScreen(talk=talk) if stream.isatty() else PlainScreen(stream)


def final_line(batch: ApiBatch) -> str:
    """Write how a batch ended, in one line (faults of a refused file follow on further lines)."""
    started, ended = batch.at("created_at"), batch.ended_at
    parts = [f"{clean(batch.name, limit=80)}  {status_words(batch)}"]
    if batch.total:
        parts.append(f"{figures.count(batch.completed)} of {figures.count(batch.total)} lines")
        parts.append(f"{figures.count(batch.failed)} failed")
    if batch.output_tokens:
        parts.append(f"{figures.count(batch.output_tokens)} tokens generated")
    if started is not None and ended is not None:
        parts.append(f"took {figures.duration(ended - started)}")
    return "\n".join(["  ".join(parts), *fault_lines(batch)])


def fault_lines(batch: ApiBatch) -> list[str]:
    """Write the faults of the input file, or why the batch paused: the first 20, one a line."""
    rows = []
    for fault in batch.faults[:_FAULTS_SHOWN]:
        whole = "batch" if batch.is_paused else "file"
        where = f"line {figures.count(fault.line)}" if fault.line else whole
        message = clean(fault.message, limit=_FAULT_CHARS)
        rows.append(f"  {where:<12} {clean(fault.code, limit=40)}: {message}")
    hidden = len(batch.faults) - _FAULTS_SHOWN
    if hidden > 0:
        rows.append(f"  and {figures.count(hidden)} more: batchline show {batch.id} --json")
    return rows


def tell_next(batch: ApiBatch) -> None:
    """Write to standard error what can be fetched now."""
    if batch.text("output_file_id"):
        say(f"Results:       batchline results {batch.id} -o results.jsonl")
    if batch.text("error_file_id"):
        say(f"Failed lines:  batchline results {batch.id} --errors")


def exit_code(batch: ApiBatch, *, fail_on_errors: bool) -> ExitCode:
    """Return the exit code for an ended batch."""
    if batch.status is not BatchStatus.COMPLETED:
        return ExitCode.ENDED_BADLY
    return ExitCode.LINES_FAILED if fail_on_errors and batch.failed else ExitCode.OK
