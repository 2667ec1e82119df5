"""All backends are down for minutes: no line fails, no attempt is burnt, work resumes at once and gently.

The model servers are killed with work in flight. While they are gone the reason stands in `/ready` and on
the dashboard; when they are back, their own log tells how soon requests came and how many at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .stage import lines, notices, staged, until

_LATENCY_S = 0.5
_WINDOWS_S = (1.0, 2.0, 5.0, 10.0)


@dataclass
class AllDown:
    """What one run measured."""

    lines: int
    servers: int
    down_s: float
    status: str
    failed: int
    sent_again: int
    in_flight_when_killed: int
    ready: str
    dashboard: str
    resumed_after_s: float
    peaks: dict[float, int]
    """The most requests at once at the servers, by seconds since the first came back."""
    steady_peak: int

    def check(self) -> None:
        assert (self.status, self.failed) == ("completed", 0)
        assert self.sent_again <= self.in_flight_when_killed
        assert "model server" in self.ready
        assert "answer" in self.dashboard
        assert self.resumed_after_s < 5
        assert self.peaks[1.0] <= self.steady_peak / 2

    def __str__(self) -> str:
        return "\n  ".join(f"{name}: {value}" for name, value in vars(self).items())


def run(folder: Path, *, count: int = 20_000, servers: int = 2, down_s: float = 120.0) -> AllDown:
    """Kill all model servers in the middle of a batch and start them again after `down_s`."""
    with staged(
        folder, servers=servers, latency_s=_LATENCY_S, probe_interval_s=1, min_free_bytes=0
    ) as stage:
        system, fleet = stage.system, stage.servers
        stage.start()
        batch = system.submit(lines(count))
        system.until(batch, lambda b: b.request_counts.completed > count // 5)
        steady = fleet.peak(since=0, until=time.time())
        fleet.kill()
        in_flight = fleet.under_way()
        killed_at = time.time()
        until(lambda: system.get("/ready")[0] == 503, within_s=30, what="/ready as 503")
        until(lambda: "answer" in notices(system), within_s=30, what="a notice")
        until(
            lambda: time.time() - killed_at > down_s,
            within_s=down_s + 60,
            what="the end of the outage",
        )
        ready, dashboard = system.get("/ready")[1], notices(system)
        sent_before = fleet.sends().total()
        fleet.start()
        back_at = time.time()
        until(lambda: fleet.sends().total() > sent_before, within_s=60, what="a request")
        ended = system.ended(batch, within_s=300)
        _, errors = system.results(ended)
        events = fleet.events()
        first = next(at for at, event, _ in events if at > killed_at and event == "begin")
        return AllDown(
            lines=count,
            servers=servers,
            down_s=back_at - killed_at,
            status=ended.status,
            failed=len(errors),
            sent_again=fleet.sends().total() - count,
            in_flight_when_killed=in_flight,
            ready=ready,
            dashboard=dashboard,
            resumed_after_s=first - back_at,
            peaks={s: fleet.peak(since=killed_at, until=first + s) for s in _WINDOWS_S},
            steady_peak=steady,
        )
