"""One line among thousands kills its model server each time: it fails alone, all others are answered.

A keeper starts the servers again a second after they died, as a supervisor does; their log counts how
often the line was sent, and so how often it killed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .stage import lines, staged

_LATENCY_S = 0.2
_FEW = 8
"""Servers that one line may kill; 5 are usual."""


@dataclass
class Poison:
    """What one run measured."""

    lines: int
    servers: int
    status: str
    answered: int
    error: dict
    other_errors: int
    poison_sends: int
    deaths: int
    sent_again: int
    most_sends_of_another: int
    wall_s: float

    def check(self) -> None:
        assert self.status == "completed"
        assert (self.answered, self.other_errors) == (self.lines - 1, 0)
        assert self.poison_sends <= _FEW
        assert self.error["error"]["code"] == "backend_killed"
        assert "the model server died" in self.error["error"]["message"]

    def __str__(self) -> str:
        return "\n  ".join(f"{name}: {value}" for name, value in vars(self).items())


def run(folder: Path, *, count: int = 5000, servers: int = 3) -> Poison:
    """Run one batch whose middle line is poison."""
    poison = f"id-{count // 2}"
    with staged(
        folder, servers=servers, latency_s=_LATENCY_S, poison=poison, min_free_bytes=0
    ) as stage:
        stage.start()
        with stage.servers.kept():
            began = time.monotonic()
            batch = stage.system.submit(lines(count))
            ended = stage.system.ended(batch, within_s=600)
            wall_s = time.monotonic() - began
        output, errors = stage.system.results(ended)
        sends = stage.servers.sends()
        others = [n for tag, n in sends.items() if tag != poison]
        return Poison(
            lines=count,
            servers=servers,
            status=ended.status,
            answered=len(output),
            error=next((e for e in errors if e["custom_id"] == poison), {}),
            other_errors=sum(e["custom_id"] != poison for e in errors),
            poison_sends=sends[poison],
            deaths=stage.servers.deaths,
            sent_again=sum(others) - (count - 1),
            most_sends_of_another=max(others),
            wall_s=wall_s,
        )
