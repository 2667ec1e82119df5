"""What a run of many histories came to: for people as text, for programs as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from .draw import PAIRS
from .faults import Fate
from .history import History
from .invariants import Breach, broken
from .resends import reasons

ENOUGH = 5
"""Each failpoint and action is to have happened so often in a full run."""
_DONE = {
    -9: "kill -9",
    -15: "SIGTERM",
    0: "SIGTERM",
    1: "gave up",
}


@dataclass(slots=True)
class Verdict:
    """One history, judged and counted. Small, so that it travels between processes."""

    seed: int
    breaches: list[Breach] = field(default_factory=list)
    lines: int = 0
    batches: int = 0
    sends: int = 0
    resent: Counter = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    ends: Counter = field(default_factory=Counter)
    acts: Counter = field(default_factory=Counter)
    faults: Counter = field(default_factory=Counter)
    fired: Counter = field(default_factory=Counter)
    told: int = 0
    events: int = 0
    """What was told at least once, by event and who asked."""
    receptions: Counter = field(default_factory=Counter)
    handled: Counter = field(default_factory=Counter)
    """Attempts of the handler, by how they ended."""
    calls: int = 0
    refused: Counter = field(default_factory=Counter)
    played_without: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    kept_at: str = ""


def judge(history: History) -> Verdict:
    """Check all invariants and count what happened."""
    breaches = broken(history)
    tags = {tag for result in history.results.values() for tag in result.tags}
    told = [breach.what for breach in breaches]
    return Verdict(
        seed=history.schedule.seed,
        breaches=breaches,
        lines=len(tags),
        batches=len(history.results),
        sends=len(history.sends),
        resent=reasons(history),
        lost=sum(what.endswith(" is lost") for what in told),
        doubled=sum(what.endswith(" times") for what in told),
        ends=Counter(
            "deleted" if r.deleted_at is not None else str((r.final or {}).get("status"))
            for r in history.results.values()
        ),
        acts=_acts(history),
        faults=Counter(str(send.dealt) for send in history.sends if send.dealt != Fate.ANSWERED),
        fired=Counter(f"{point}={action}" for point, action in history.fired),
        told=len(history.told),
        events=len({(told.asked_by, told.headers.get("webhook-id")) for told in history.told}),
        receptions=Counter(str(told.dealt) for told in history.told),
        handled=Counter(run.end for run in history.handled),
        calls=len(history.calls),
        refused=Counter(str(c.status) for c in history.calls if (c.status or 0) >= 500),
        played_without=history.played_without,
        wall_s=history.wall_s,
        cpu_s=history.cpu_s,
    )


def _acts(history: History) -> Counter:
    acts: Counter[str] = Counter()
    for d in history.disturbances:
        match d.kind:
            case "down" if d.code is not None:
                how = _DONE.get(d.code, f"code {d.code}") if d.is_bidden else "died of a failpoint"
                acts[f"{d.target}: {how}"] += 1
            case "down" | "falters" if d.target == "receiver":
                acts[f"receiver: {d.kind}"] += 1
            case "down" if d.target.startswith("upstream"):
                acts["model server: down or loading"] += 1
            case "frozen" if d.target.startswith("upstream"):
                acts["model server: stopped"] += 1
            case "frozen":
                acts[f"{d.target}: SIGSTOP"] += 1
            case "sick":
                acts["model server: sick"] += 1
            case "killed":
                acts[f"{d.target}: kill -9"] += 1
            case "full" | "read-only":
                acts[f"disk: {d.kind}"] += 1
            case "jump":
                acts["clock: jump"] += 1
            case "reload" | "worker":
                acts[f"nginx: {'reload' if d.kind == 'reload' else 'kill -9 of a worker'}"] += 1
            case "rival":
                acts["two dispatchers at once"] += 1
    return acts


@dataclass(slots=True)
class Total:
    """All verdicts together."""

    verdicts: list[Verdict] = field(default_factory=list)

    def sum(self, name: str) -> Counter:
        """Add up one of the counters."""
        total: Counter[str] = Counter()
        for verdict in self.verdicts:
            total.update(getattr(verdict, name))
        return total

    def number(self, name: str) -> float:
        """Add up one of the numbers."""
        return sum(getattr(verdict, name) for verdict in self.verdicts)

    @property
    def failing(self) -> list[Verdict]:
        """Return the histories in which something did not hold."""
        return [verdict for verdict in self.verdicts if verdict.breaches]


def text(total: Total, *, wall_s: float) -> str:
    """Write the report for people."""
    done = total.verdicts
    cost = f"{_mean(total, 'cpu_s')} CPU-s, {_mean(total, 'wall_s')} s"
    again = total.sum("resent")
    sends = f"{int(total.number('sends'))} times, of them again {again.total()}"
    parts = [
        "",
        f"histories      {len(done)} in {wall_s:.0f} s; on average {cost}",
        f"batches        {int(total.number('batches'))}: {_listed(total.sum('ends'))}",
        f"lines          {int(total.number('lines'))}, sent {sends}",
        f"lost           {int(total.number('lost'))}",
        f"duplicated     {int(total.number('doubled'))}",
        f"deliveries     {int(total.number('events'))}, told {int(total.number('told'))} times",
        f"API answers    {int(total.number('calls'))}; 5xx: {_listed(total.sum('refused')) or 'none'}",
        "",
        "what was done to the processes, the disk and the clock",
        *_table(total.sum("acts")),
        "",
        "what the model servers did to requests",
        *_table(total.sum("faults")),
        "",
        "what the receiver of webhooks answered",
        *_table(total.sum("receptions")),
        "",
        "how attempts of the handler of results ended",
        *_table(total.sum("handled")),
        "",
        "why lines were sent again",
        *_table(again),
        "",
        "failpoints that happened",
        *_failpoints(total.sum("fired")),
        "",
    ]
    without = Counter(what for verdict in done for what in verdict.played_without)
    if without:
        parts += ["played without", *_table(without), ""]
    parts += [_failure(verdict) for verdict in total.failing]
    parts.append(f"failing seeds  {_seeds(total) or 'none'}")
    return "\n".join(parts)


def _mean(total: Total, name: str) -> str:
    return f"{total.number(name) / max(1, len(total.verdicts)):.1f}"


def _seeds(total: Total) -> str:
    return ", ".join(str(verdict.seed) for verdict in total.failing)


def _listed(counter: Counter) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _table(counter: Counter) -> list[str]:
    return [f"  {count:7d}  {name}" for name, count in sorted(counter.items())] or ["  nothing"]


def _failpoints(happened: Counter) -> list[str]:
    rows = [f"  {'':20} {'crash':>7} {'error':>7} {'sleep':>7} {'torn':>7}"]
    for point in dict.fromkeys(point for point, _ in PAIRS):
        counts = [happened[f"{point}={action}"] for action in ("crash", "error", "sleep", "torn")]
        rows.append(f"  {point:20} " + " ".join(f"{count or '-':>7}" for count in counts))
    few = [f"{p}={a}" for p, a in PAIRS if happened[f"{p}={a}"] < ENOUGH]
    rows.append(f"  fewer than {ENOUGH} times: {', '.join(few) or 'none'}")
    return rows


def _failure(verdict: Verdict) -> str:
    lines = [f"seed {verdict.seed} FAILED; again: make chaos SEEDS=1 FROM={verdict.seed}"]
    lines += [f"  {breach.invariant}: {breach.what}" for breach in verdict.breaches]
    if verdict.kept_at:
        lines.append(f"  its data, logs and schedule are kept in {verdict.kept_at}")
    return "\n".join(lines) + "\n"


def write(total: Total, folder: Path, *, wall_s: float) -> None:
    """Write report.txt and report.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(text(total, wall_s=wall_s) + "\n")
    whole = {
        "wall_s": wall_s,
        "lost": total.number("lost"),
        "duplicated": total.number("doubled"),
        "failing": [verdict.seed for verdict in total.failing],
        "histories": [_plain(verdict) for verdict in total.verdicts],
    }
    (folder / "report.json").write_text(json.dumps(whole, indent=1, default=str) + "\n")


def _plain(verdict: Verdict) -> dict:
    """Return what JSON can hold: asdict breaks a Counter."""
    values = {f.name: getattr(verdict, f.name) for f in fields(verdict)}
    return values | {"breaches": [asdict(breach) for breach in verdict.breaches]}
