"""`batchline ls` and `batchline show`: batches as a table, one batch in full."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from batchline import figures
from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import LAST, resolve
from batchline.cli.failure import Failure
from batchline.cli.render import (
    WORDS,
    clean,
    console,
    day_or_time,
    look,
    moment,
    put,
    put_json,
    put_table,
    say,
    status_words,
)
from batchline.states import BatchStatus

from .watch import fault_lines, tell_next

if TYPE_CHECKING:
    from rich.table import Table

_SHORT_HEX = 8
_TIMES = (
    ("created", "created_at"),
    ("running since", "in_progress_at"),
    ("paused since", "paused_at"),
    ("finalizing", "finalizing_at"),
    ("cancelling", "cancelling_at"),
    ("completed", "completed_at"),
    ("failed", "failed_at"),
    ("expired", "expired_at"),
    ("cancelled", "cancelled_at"),
    ("expires", "expires_at"),
)


def ls(
    *,
    status: Annotated[
        list[str] | None, typer.Option(help="Only these, such as running; may be repeated")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All batches")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """List batches, newest first."""
    wanted = read_statuses(status or [])
    with Client(url, api_key) as client:
        found = client.batches(wanted)
        batches = list(found if everything else islice(found, limit + 1))
    more = not everything and len(batches) > limit
    batches = batches if everything else batches[:limit]
    if as_json:
        put_json([b.raw for b in batches])
    elif not batches:
        say("No batch. Start one:  batchline submit FILE.jsonl")
    else:
        _write_table(batches)
    if more and not as_json:
        say("There are more:  batchline ls --all")


def show(
    *,
    batch: BatchRef = LAST,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Show everything about one batch."""
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
    if as_json:
        put_json(seen.raw)
        return
    for label, value in described(seen):
        put(f"{label:<14} {value}")
    for line in fault_lines(seen):
        put(line)
    if seen.has_ended:
        tell_next(seen)
    else:
        say(f"Follow it:  batchline watch {seen.id}")


def read_statuses(words: Sequence[str]) -> frozenset[BatchStatus]:
    """Read statuses as the API or as people write them (`running`). Raises Failure."""
    by_word = {word: status for status, (_, word, _) in WORDS.items()}
    by_word |= {str(status): status for status in BatchStatus}
    unknown = [w for w in words if w not in by_word]
    if unknown:
        raise Failure(
            f"{clean(unknown[0], limit=80)!r} is no status of a batch.",
            why=f"They are: {', '.join(word for _, word, _ in WORDS.values())}.",
        )
    return frozenset(by_word[w] for w in words)


def described(batch: ApiBatch) -> Iterator[tuple[str, str]]:
    """Yield (label, value) of all that is known of a batch."""
    yield "id", batch.id
    if batch.name != batch.id:
        yield "name", clean(batch.name)
    yield "status", status_words(batch)
    yield "endpoint", clean(batch.text("endpoint") or figures.MISSING)
    yield "model", clean(batch.text("model") or figures.MISSING)
    yield from _told(batch)
    for label, key in _TIMES:
        at = batch.at(key)
        if at is not None and not (key == "expires_at" and batch.has_ended):
            yield label, moment(at)
    for key in ("input_file_id", "output_file_id", "error_file_id"):
        if file_id := batch.text(key):
            yield key.removesuffix("_id").replace("_", " "), clean(file_id)
    metadata = batch.raw.get("metadata")
    for name, value in metadata.items() if isinstance(metadata, dict) else ():
        if name != "name":
            yield "metadata", f"{clean(str(name))}={clean(str(value))}"


def _told(batch: ApiBatch) -> Iterator[tuple[str, str]]:
    """Yield (label, value) of its progress."""
    if batch.total:
        done = figures.percent(batch.finished, batch.total)
        yield "lines", f"{figures.count(batch.finished)} of {figures.count(batch.total)} ({done})"
        share = figures.share(batch.failed, batch.finished)
        yield "failed lines", f"{figures.count(batch.failed)} ({share})" if batch.failed else "0"
    for label, key in (
        ("warning", "failing"),
        ("on failures", "on_failures"),
        ("calls back", "callback_url"),
    ):
        if text := batch.text(key):
            yield label, clean(text, limit=300)
    if batch.total_tokens:
        tokens = figures.count(batch.total_tokens - batch.output_tokens)
        yield "tokens", f"{tokens} in, {figures.count(batch.output_tokens)} out"


def _write_table(batches: Sequence[ApiBatch]) -> None:
    screen = console()
    rows = [_row(b, batches, short=screen.is_terminal) for b in batches]
    if not screen.is_terminal:
        put_table(_COLUMNS, rows, right=_RIGHT)
        return
    screen.print(_table(rows, [look(b)[2] for b in batches]), soft_wrap=False)


_COLUMNS = ("BATCH", "NAME", "STATUS", "DONE", "LINES", "FAILED", "CREATED", "TOOK")
_RIGHT = frozenset({"DONE", "LINES", "FAILED", "TOOK"})


def _row(batch: ApiBatch, among: Sequence[ApiBatch], *, short: bool) -> tuple[str, ...]:
    created = batch.at("created_at")
    until = batch.ended_at or int(time.time())
    return (
        _short_id(batch, among) if short else batch.id,
        clean(batch.name, limit=40) if batch.name != batch.id else figures.MISSING,
        status_words(batch),
        figures.percent(batch.finished, batch.total),
        figures.count(batch.total),
        figures.count(batch.failed),
        day_or_time(created, now=time.time()) if created is not None else figures.MISSING,
        figures.duration(until - created) if created is not None else figures.MISSING,
    )


def _short_id(batch: ApiBatch, among: Sequence[ApiBatch]) -> str:
    bodies = {b.id.removeprefix("batch_") for b in among}
    mine = batch.id.removeprefix("batch_")
    length = _SHORT_HEX
    while length < len(mine) and sum(b.startswith(mine[:length]) for b in bodies) > 1:
        length += 1
    return "batch_" + mine[:length]


def _table(rows: Sequence[Sequence[str]], colors: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(_COLUMNS):
        width = max(len(name), *(len(row[index]) for row in rows))
        table.add_column(
            name,
            justify="right" if name in _RIGHT else "left",
            no_wrap=True,
            overflow="ellipsis",
            # A narrow terminal cuts names, never figures.
            min_width=None if name == "NAME" else width,
        )
    for row, color in zip(rows, colors, strict=True):
        cells = [Text(cell, style=color if i == 2 else "") for i, cell in enumerate(row)]  # noqa: PLR2004
        table.add_row(*cells)
    return table
