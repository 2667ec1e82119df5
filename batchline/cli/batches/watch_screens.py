"""Four ways to show a running batch: live frame, plain lines, JSON lines, only the end.

A screen gets every state of the batch that was read, and decides what to write.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from batchline import estimate, figures
from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.pace import Pace
from batchline.cli.render import clean, clock, console, look, put_json, say, status_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

_LINE_EVERY_S = 30.0
_BAR_CELLS = 40
_NAME_LIMIT = 60
_WARNING_LIMIT = 300


class Screen(Protocol):
    """Where a watched batch is shown. Entered before the first state, left after the last."""

    def opened(self) -> AbstractContextManager[object]:
        """Return what is held open while watching."""

    def show(self, batch: ApiBatch, pace: Pace, *, now_s: float) -> None:
        """Show one state of the batch; `now_s` is monotonic."""

    def trouble(self, text: str) -> None:
        """Show that the server does not answer at present."""


class QuietScreen:
    """Shows nothing before the end but, once per outage, that the server does not answer."""

    def __init__(self) -> None:
        self._told = False

    def opened(self) -> AbstractContextManager[object]:
        """Hold nothing."""
        return nullcontext()

    def show(self, batch: ApiBatch, pace: Pace, *, now_s: float) -> None:
        """Write nothing."""
        del batch, pace, now_s
        self._told = False

    def trouble(self, text: str) -> None:
        """Write it once per outage."""
        if not self._told:
            say(text, mark="!")
            self._told = True


class JsonScreen(QuietScreen):
    """One JSON object a line on standard output, whenever something changed."""

    def __init__(self) -> None:
        super().__init__()
        self._last: object = None

    def show(self, batch: ApiBatch, pace: Pace, *, now_s: float) -> None:
        """Write the batch object with the present rates, if it changed."""
        super().show(batch, pace, now_s=now_s)
        if batch.raw == self._last:
            return
        self._last = batch.raw
        put_json(
            {
                **batch.raw,
                "lines_per_second": pace.lines_per_s,
                "tokens_per_second": pace.tokens_per_s,
                "seconds_left": pace.left_s,
            },
            lines=True,
        )


class PlainScreen(QuietScreen):
    """One line every 30 seconds and at every change of status or warning: for pipes and logs."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._status: object = None
        self._written_s = 0.0

    def show(self, batch: ApiBatch, pace: Pace, *, now_s: float) -> None:
        """Write a line if it is time, or something changed; the end has its own line."""
        super().show(batch, pace, now_s=now_s)
        status = status_words(batch), batch.warning is None
        due = status != self._status or now_s - self._written_s >= _LINE_EVERY_S
        if batch.has_ended or not due:
            return
        self._status, self._written_s = status, now_s
        self._stream.write(plain_line(batch, pace, now=time.time()) + "\n")
        self._stream.flush()


class LiveScreen:
    """A frame redrawn in place, removed at the end. Needs a terminal."""

    def __init__(self, *, talk: bool) -> None:
        self._console = console(talk=talk)
        self._live: Live | None = None
        self._frame: RenderableType = ""

    def opened(self) -> AbstractContextManager[object]:
        """Hold the live display."""
        from rich.live import Live

        # Drawn only when something has changed: a timer would disturb scrolling in the terminal.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        return self._live

    def show(self, batch: ApiBatch, pace: Pace, *, now_s: float) -> None:
        """Redraw the frame."""
        del now_s
        self._frame = frame(batch, pace, terminal=self._console, now=time.time())
        self._draw(self._frame)

    def trouble(self, text: str) -> None:
        """Draw the message under the last figures."""
        from rich.console import Group
        from rich.text import Text

        self._draw(Group(self._frame, Text(f"  ! {text}", style="yellow", overflow="ellipsis")))

    def _draw(self, what: RenderableType) -> None:
        if self._live is not None:
            self._live.update(what, refresh=True)


def plain_line(batch: ApiBatch, pace: Pace, *, now: float) -> str:
    """Write the state of a batch in one line."""
    parts = [
        time.strftime("%H:%M:%S", time.localtime(now)),
        clean(batch.name, limit=_NAME_LIMIT),
        status_words(batch),
    ]
    if batch.total:
        parts.append(figures.percent(batch.finished, batch.total))
        parts.append(_progress(batch))
        parts += [_speed(pace)] if pace.lines_per_s is not None else []
    ending = eta(pace, now=now)
    parts += [ending] if ending else []
    return "  ".join(parts + ([_warning(batch)] if batch.warning else []))


def frame(batch: ApiBatch, pace: Pace, *, terminal: Console, now: float) -> Text:
    """Draw name and status, the bar with its figures, the speed, and when it will be done."""
    from rich.text import Text

    color = look(batch)[2]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(clean(batch.name, limit=_NAME_LIMIT), style="bold")
    text.append(f"  {status_words(batch)}", style=color)
    if not batch.total:
        return text
    text.append("\n  ")
    text.append_text(_bar(batch, cells=min(_BAR_CELLS, max(10, terminal.width - 50))))
    text.append(f" {figures.percent(batch.finished, batch.total):>7}  {_progress(batch)}")
    if batch.warning:
        text.append(f"\n  {_warning(batch)}", style="yellow")
    if pace.lines_per_s is None:
        return text
    text.append(f"\n  {_speed(pace)}")
    ending = eta(pace, now=now)
    text.append(f"\n  {ending}" if ending else "")
    return text


def eta(pace: Pace, *, now: float) -> str:
    """Write when the batch will be done; nothing while that is unknown."""
    if pace.end is None:
        return ""
    told = estimate.told(pace.end, now=now)
    if told.at is None:
        return f"done in {told.away}"
    return f"done about {clock(told.at, now=now)} (in {told.away})"


def _progress(batch: ApiBatch) -> str:
    done = f"{figures.count(batch.finished)} of {figures.count(batch.total)}"
    return f"{done}  {figures.count(batch.failed)} failed" if batch.failed else done


def _warning(batch: ApiBatch) -> str:
    return f"! {clean(batch.warning or '', limit=_WARNING_LIMIT)}"


def _speed(pace: Pace) -> str:
    lines, tokens = figures.rate(pace.lines_per_s), figures.rate(pace.tokens_per_s)
    return f"{lines} lines/s · {tokens} tokens/s"


def _bar(batch: ApiBatch, *, cells: int) -> Text:
    from rich.text import Text

    failed = batch.failed * cells // batch.total
    completed = batch.finished * cells // batch.total - failed
    bar = Text("█" * completed, style="green")
    bar.append("▒" * failed, style="red")
    bar.append("─" * (cells - completed - failed), style="bright_black")
    return bar
