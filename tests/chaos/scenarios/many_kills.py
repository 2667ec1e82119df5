"""Kill -9 at random moments, many times during one batch: it completes, in order, each line once.

The dispatcher dies most often, the gateway and nginx now and then. A moment is drawn anew each time so
that the batch lasts as long as the kills do; a quarter of them fall into the start of the process.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .stage import Stage, lines, staged, until

IN_FLIGHT = 64
_LATENCY_S = 0.25
_START_S = 1.5


@dataclass(frozen=True)
class Kills:
    """What one run measured."""

    lines: int
    kills: Counter[str]
    sent_again: int
    bound: int
    most_sends_of_a_line: int
    wall_s: float
    status: str
    in_order: bool
    failed: int

    def check(self) -> None:
        assert self.status == "completed"
        assert self.in_order
        assert self.failed == 0
        assert self.sent_again <= self.bound

    def __str__(self) -> str:
        killed = ", ".join(f"{name} {n}" for name, n in sorted(self.kills.items()))
        return (
            f"{self.lines} lines, {self.kills.total()} kills ({killed}): {self.status} in "
            f"{self.wall_s:.0f} s, output in order, {self.failed} failed; {self.sent_again} lines "
            f"sent again (bound {IN_FLIGHT} in flight x kills = {self.bound}), "
            f"one line at most {self.most_sends_of_a_line} times"
        )


def run(folder: Path, *, count: int = 20_000, kills: int = 200, seed: int = 1) -> Kills:
    """Run one batch through all kills and measure."""
    chance = random.Random(seed)
    with staged(
        folder, servers=2, latency_s=_LATENCY_S, max_in_flight=IN_FLIGHT, min_free_bytes=0
    ) as stage:
        stage.start()
        batch = stage.system.submit(lines(count))
        until(stage.servers.sends, within_s=120, what="the first request")
        began = time.monotonic()
        killed = _kill_all(stage, kills, count, chance)
        ended = stage.system.ended(batch, within_s=600)
        wall_s = time.monotonic() - began
        output, errors = stage.system.results(ended)
        sends = stage.servers.sends()
    return Kills(
        lines=count,
        kills=killed,
        sent_again=sends.total() - count,
        bound=IN_FLIGHT * killed.total(),
        most_sends_of_a_line=max(sends.values()),
        wall_s=wall_s,
        status=ended.status,
        in_order=[line["custom_id"] for line in output] == [f"id-{n}" for n in range(count)],
        failed=len(errors),
    )


def _kill_all(stage: Stage, kills: int, count: int, chance: random.Random) -> Counter[str]:
    killed: Counter[str] = Counter()
    for n in range(kills):
        left = max(0, count - len(stage.servers.sends()))
        speed = IN_FLIGHT / _LATENCY_S
        work_s = min(5.0, left / (kills - n) / speed)
        moment = chance.random()
        wait_s = _START_S * moment * 4 if moment < 0.25 else _START_S + chance.random() * 2 * work_s
        time.sleep(wait_s)  # kills come at random moments
        name = chance.choices(("dispatcher", "gateway", "nginx"), (8, 1, 1))[0]
        stage.kill(name)
        killed[name] += 1
        stage.restart(name)
    return killed
