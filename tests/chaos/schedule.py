"""A seed becomes a schedule: which batches, what happens to their lines, what befalls the processes.

Pure: the same seed gives the same schedule for ever within a version. Acts name shares of the work and
not moments, so that a slow machine plays the same history. `draw` makes the choices; here are the words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .faults import Failure, Fate, Fault


class Verb(StrEnum):
    """What happens to a process, the disk, the clock."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    FREEZE = "SIGSTOP"
    RELOAD = "reload"
    KILL_WORKER = "kill -9 of a worker"
    VANISH = "down"
    LOADING = "loading"
    SICKEN = "sick"
    FALTER = "falters"
    FULL = "disk full"
    READ_ONLY = "disk read-only"
    JUMP = "clock jump"
    START = "start"


class Moment(StrEnum):
    """What a share of the work is counted in."""

    SENT = "of the lines sent"
    TOLD = "of the batches told"
    """Their ends, to the receiver of webhooks."""


@dataclass(frozen=True, slots=True)
class Act:
    """`verb` on `target` at `at`: a share (0 to 1) of the work, `latest_s` at the latest."""

    at: float
    latest_s: float
    verb: Verb
    target: str
    seconds: float = 0.0
    """How long it lasts (the process is down, stopped; the disk is full), or the clock's jump."""
    failpoints: str = ""
    """Armed when the process is started again."""
    form: str = ""
    """How the model server is sick (`faults.SICK`), or what the receiver does (`faults.Reception`)."""
    moment: Moment = Moment.SENT


class Step(StrEnum):
    """What a client does to its batch while it runs."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE_INPUT = "delete its input file"
    DELETE = "delete"
    CREATE_AGAIN = "create again, same key"
    PARTIAL = "read partial results"


class Intake(StrEnum):
    """How the requests of a batch come in."""

    FILE = "an uploaded file"
    INLINE = "inline"
    FORM = "as a form"
    OPEN = "while it runs"


@dataclass(frozen=True, slots=True)
class LinePlan:
    """The faults that a line is dealt, one a send, and what comes then."""

    faults: tuple[Fault, ...] = ()
    fate: Fate = Fate.ANSWERED


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One batch: `begins_at` is a share of all lines sent, a step's share one of its own."""

    name: str
    lines: int
    begins_at: float = 0.0
    window: str = "24h"
    special: tuple[tuple[int, LinePlan], ...] = ()
    steps: tuple[tuple[float, Step], ...] = ()
    retried: bool = False
    """Its failed lines are run again as a batch of their own."""
    deleted: bool = False
    """It is deleted when its results have been fetched."""
    intake: Intake = Intake.FILE

    def line(self, index: int) -> LinePlan:
        """Return what line `index` (from 0) is dealt."""
        return dict(self.special).get(index, LinePlan())


@dataclass(frozen=True, slots=True)
class Handling:
    """What the handler of results does beside recording what it gets."""

    checkpoint_every: int
    """How many results lie between two checkpoints; 0: it makes none."""
    takes_s: float
    """How long it takes over a batch."""
    failures: tuple[tuple[str, tuple[tuple[float, Failure], ...]], ...] = ()
    """Batch → how its attempts fail, one after another: at which share of its results, and how."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One history before it happens."""

    seed: int
    version: str
    """Under which the seed gives this schedule: that of the draw, and of the failpoints there are."""
    batches: tuple[BatchPlan, ...]
    acts: tuple[Act, ...] = ()
    failpoints: tuple[tuple[str, str], ...] = ()
    """Armed at the first start: (process, text)."""
    last_failpoints: str = ""
    """Armed in the dispatcher that is started when all batches have ended."""
    settings: tuple[tuple[str, str], ...] = ()
    upstreams: int = 2
    latency_s: float = 0.01
    has_gauges: bool = False
    disk_mib: int = 0
    """Size of a file system of its own for the data directory; 0: none."""
    shifts_clock: bool = False
    second: str = ""
    """`standby` (behind the host's lock) or `rival` (its lock broken, another cell), or none."""
    backup_at: float | None = None
    """When `batchline backup` is run, as a share of all lines sent; None: never."""
    callbacks: tuple[str, ...] = ()
    """Names of the batches that ask for their end to be told by a `callback_url`, too."""
    handling: Handling | None = None
    """What the handler does that the deliverer runs; None: it runs none."""
    pair: tuple[str, str] = field(default=("", ""))
    """The failpoint and action that this seed is to cover."""

    @property
    def lines(self) -> int:
        """All lines of all batches."""
        return sum(batch.lines for batch in self.batches)


def tag(batch: str, index: int) -> str:
    """Name a line: in its request's body, its answer and the witness's log."""
    return f"{batch}/{index}"


def shown(schedule: Schedule) -> str:
    """Write a schedule for a person."""
    pace = f"{schedule.latency_s * 1000:.0f} ms an answer"
    second = f"second dispatcher {schedule.second or 'none'}"
    lines = [
        f"seed {schedule.seed} (version {schedule.version}), covers {'='.join(schedule.pair)}",
        f"  servers    {schedule.upstreams}, {pace}, gauges {schedule.has_gauges}",
        f"  settings   {', '.join('='.join(pair) for pair in schedule.settings)}",
        f"  extras     disk {schedule.disk_mib} MiB, clock {schedule.shifts_clock}, {second}",
    ]
    lines += [f"  failpoints {name}: {text}" for name, text in schedule.failpoints]
    if schedule.backup_at is not None:
        lines.append(f"  backup     at {schedule.backup_at:.2f}")
    if schedule.callbacks:
        lines.append(f"  callbacks  of {', '.join(schedule.callbacks)}")
    if schedule.handling is not None:
        lines += _shown_handling(schedule.handling)
    if schedule.last_failpoints:
        lines.append(f"  failpoints dispatcher, at the end: {schedule.last_failpoints}")
    for batch in schedule.batches:
        flags = [word for word in ("retried", "deleted") if getattr(batch, word)]
        if batch.intake is not Intake.FILE:
            flags.append(f"comes {batch.intake}")
        steps = [f"{step} at {share:.2f}" for share, step in batch.steps]
        lines.append(
            f"  batch {batch.name}: {batch.lines} lines, window {batch.window}, "
            f"from {batch.begins_at:.2f}; {'; '.join(steps + flags) or 'left alone'}"
        )
        for index, line in batch.special:
            dealt = ", ".join(line.faults) or "nothing"
            lines.append(f"    line {index}: {dealt}, then {line.fate}")
    for act in schedule.acts:
        armed = f", then {act.failpoints}" if act.failpoints else ""
        form = f", {act.form}" if act.form else ""
        moment = f"{act.at:.2f}" if act.moment is Moment.SENT else f"{act.at:.2f} {act.moment}"
        lines.append(
            f"  at {moment} or {act.latest_s:.1f} s: {act.verb} {act.target} "
            f"{act.seconds:g} s{form}{armed}"
        )
    return "\n".join(lines)


def _shown_handling(handling: Handling) -> list[str]:
    every = handling.checkpoint_every or "no"
    lines = [f"  handler    takes {handling.takes_s:g} s, {every} results between checkpoints"]
    for batch, failures in handling.failures:
        dealt = ", ".join(f"{failure} at {share:.2f}" for share, failure in failures)
        lines.append(f"    its attempts at {batch}: {dealt}, then well")
    return lines
