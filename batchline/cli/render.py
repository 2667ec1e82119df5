"""How the command line writes: data to standard output, messages to standard error.

Text from the server or from files passes `clean` before it reaches a terminal. rich is imported only where
something is drawn (it costs as much as all the rest of a short command).
"""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from batchline.states import BatchStatus

from .failure import Failure

if TYPE_CHECKING:
    from rich.console import Console

    from batchline.cli.api.batch import ApiBatch

_S = BatchStatus
_WEEK_S = 6 * 86400  # from the seventh day on, a weekday is ambiguous

WORDS = {
    _S.VALIDATING: ("◎", "validating", "blue"),
    _S.IN_PROGRESS: ("▶", "running", "blue"),
    _S.FINALIZING: ("◐", "finalizing", "blue"),
    _S.COMPLETED: ("✓", "completed", "green"),
    _S.FAILED: ("✗", "failed", "red"),
    _S.EXPIRED: ("⧗", "expired", "yellow"),
    _S.CANCELLING: ("⊘", "cancelling", "yellow"),
    _S.CANCELLED: ("⊘", "cancelled", "bright_black"),
}
"""Status -> (mark, word, colour): the mark differs in shape, so colour is never needed."""

PAUSED = ("‖", "paused", "yellow")
"""The same for a batch that is paused, whatever its status."""

OPEN = ("▷", "open", "blue")
"""The same for a batch that takes requests while it runs."""

# Controls act on the terminal, format characters (bidi marks) reorder the text, the others cannot be
# printed.
_INERT = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def clean(text: str, *, limit: int | None = None) -> str:
    """Return `text` with every character that a terminal could act on replaced, at most `limit` long."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in _INERT else c for c in text)


def say(text: str, *, mark: str = "") -> None:
    """Write one message line to standard error."""
    sys.stderr.write(f"{mark} {text}\n" if mark else f"{text}\n")
    sys.stderr.flush()


def say_failure(failure: Failure) -> None:
    """Write what happened, why, and what to do next, to standard error."""
    lines = [f"✗ {failure.what}"]
    lines += [f"  {line}" for line in failure.why.splitlines()]
    if failure.remedy:
        lines.append(f"  Next: {failure.remedy}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """Write one line of data to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def put_json(value: Any, *, lines: bool = False) -> None:
    """Write JSON to standard output, indented, or on one line (NDJSON).

    Escaped to ASCII: valid JSON, and inert in a terminal.
    """
    put(json.dumps(value, indent=None if lines else 2))


def put_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Write a plain table to standard output; the columns in `right` are aligned there."""
    table = [columns, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def console(*, talk: bool = False) -> Console:
    """Return a rich console on standard output, or on standard error for messages."""
    from rich.console import Console

    return Console(stderr=talk, highlight=False, markup=False, emoji=False, soft_wrap=True)


def look(batch: ApiBatch) -> tuple[str, str, str]:
    """Return mark, word and colour of what a batch is doing."""
    if batch.is_paused:
        return PAUSED
    return OPEN if batch.is_open else WORDS[batch.status]


def status_words(batch: ApiBatch) -> str:
    """Write what a batch is doing, with its mark: `▶ running`."""
    mark, word, _ = look(batch)
    return f"{mark} {word}"


def moment(unix_s: int | None) -> str:
    """Write a time in the local zone: `2026-02-12 21:04:07`."""
    if unix_s is None:
        return "–"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


def clock(unix_s: float, *, now: float) -> str:
    """Write a time near now: `05:20`, with the weekday when it is not today."""
    then, today = time.localtime(unix_s), time.localtime(now)
    same_day = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same_day else "%a %H:%M", then)


def day_or_time(unix_s: float, *, now: float) -> str:
    """Write a time in the past: `21:04` today, `Thu 21:04` this week, else `2026-02-12`."""
    recent = now - _WEEK_S < unix_s
    return clock(unix_s, now=now) if recent else time.strftime("%Y-%m-%d", time.localtime(unix_s))
