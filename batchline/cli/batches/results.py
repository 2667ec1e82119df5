"""`batchline results`: chooses the file of a batch, and where it is written.

`download` moves the bytes; `partial` writes lines of a batch that still runs. Standard output gets nothing
but the lines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.download import download, pour
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import LAST, resolve
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean, put_json, say
from batchline.states import BatchStatus

from .partial import follow_results, write_finished
from .watch import exit_code, fault_lines, final_line


def results(
    *,
    batch: BatchRef = LAST,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Store here [default: standard output]")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="The lines that failed, not those that succeeded")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Write lines as they finish, until it has ended")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Download the answers of a batch, or those there are so far; resumes a partial download."""
    to_file = output is not None and str(output) != "-"
    if follow and to_file:
        raise Failure(
            "--follow writes to standard output, not into a file.",
            remedy="leave out -o, or send the output somewhere: > FILE",
        )
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        if not seen.has_ended and not to_file:
            _write_running(client, seen, errors=errors, follow=follow)
            return
        if output is None or str(output) == "-":
            write_results(client, seen, errors=errors)
            return
        store_results(client, seen, output, errors=errors)
    if as_json:
        put_json({"id": seen.id, "path": str(output), "bytes": output.stat().st_size})


def _write_running(client: Client, batch: ApiBatch, *, errors: bool, follow: bool) -> None:
    if not follow:
        write_finished(client, batch, errors=errors)
        return
    ended = follow_results(client, batch, errors=errors)
    say(final_line(ended))
    raise typer.Exit(exit_code(ended, fail_on_errors=False))


def store_results(client: Client, batch: ApiBatch, output: Path, *, errors: bool = False) -> None:
    """Store the batch's results as `output`, completely or not at all. Raises Failure."""
    file_id = _file_id(batch, errors=errors)
    try:
        if file_id is None:
            output.write_bytes(b"")
            return
        summary = download(client, file_id, output)
    except OSError as exc:
        raise Failure(
            f"{clean(str(output))} cannot be written.",
            why=f"{exc.strerror or exc}.",
            remedy="check the path and the free space, then run it again: it resumes",
        ) from exc
    say(f"{clean(str(output))}: {summary}", mark="✓")


def write_results(client: Client, batch: ApiBatch, *, errors: bool = False) -> None:
    """Write the batch's results to standard output. Raises Failure."""
    file_id = _file_id(batch, errors=errors)
    if file_id is None:
        return
    if sys.stdout.isatty():
        _show(client, file_id)
    else:
        # A buffer of our own: with PYTHONUNBUFFERED, Python's would lose the rest of a short write.
        with open(sys.stdout.fileno(), "wb", closefd=False) as sink:
            pour(client, file_id, sink)


def _file_id(batch: ApiBatch, *, errors: bool) -> str | None:
    """Return the file to fetch, None where it would be empty. Raises Failure where there is none."""
    if not batch.has_ended:
        raise Failure(
            f"{clean(batch.name, limit=80)} has not ended yet; it is {batch.status}.",
            why="A file is written whole or not at all.",
            remedy=f"batchline watch {batch.id}, or without -o for the lines so far",
        )
    if batch.status is BatchStatus.FAILED and not batch.text("output_file_id"):
        raise Failure(
            f"{clean(batch.name, limit=80)} has no results: it failed.",
            why="\n".join(line.strip() for line in fault_lines(batch)),
            remedy="fix the input file and submit it again",
            code=ExitCode.ENDED_BADLY,
        )
    file_id = batch.text("error_file_id" if errors else "output_file_id")
    if file_id is None:
        say("No line failed." if errors else "No line succeeded; see --errors.", mark="!")
    return file_id


def _show(client: Client, file_id: str) -> None:
    with client.content(file_id) as content:
        rest = b""
        for chunk in content.chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                sys.stdout.write(clean(line.decode("utf-8", "replace")) + "\n")
        sys.stdout.write(clean(rest.decode("utf-8", "replace")))
