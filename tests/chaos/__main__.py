"""`make chaos SEEDS=N [FROM=S] [JOBS=J]`: play N seeded histories from seed S on and report."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .draw import schedule
from .report import Total, text, write
from .run import AT_ONCE, run
from .schedule import shown

_ROOT = Path(__file__).parents[2]
_OUT = _ROOT / ".batchline" / "chaos"
_STOPPED = 130  # as a shell says it of SIGINT


def main() -> int:
    """Return 1 if anything did not hold. Ctrl-C ends it with a report of what was played."""
    asked = _arguments()
    if asked.show:
        print("\n\n".join(shown(schedule(seed)) for seed in asked.seeds))
        return 0
    began_at = time.monotonic()
    total = Total()
    count = len(asked.seeds)

    def tell(verdict):
        total.verdicts.append(verdict)
        word = "FAILED" if verdict.breaches else "ok"
        print(
            f"[{len(total.verdicts):4}/{count}] seed {verdict.seed}: {word}  {verdict.lines} lines, "
            f"{verdict.resent.total()} sent again, {verdict.wall_s:.1f} s",
            flush=True,
        )
        for breach in verdict.breaches:
            print(f"    {breach.invariant}: {breach.what.splitlines()[0]}", flush=True)

    stopped = False
    try:
        run(asked.seeds, jobs=asked.jobs, keep=asked.out, on_verdict=tell)
    except KeyboardInterrupt:
        stopped = True
        print(f"stopped after {len(total.verdicts)} of {count} histories", flush=True)
    total.verdicts.sort(key=lambda verdict: verdict.seed)
    wall_s = time.monotonic() - began_at
    write(total, asked.out, wall_s=wall_s)
    print(text(total, wall_s=wall_s))
    print(f"report         {asked.out / 'report.txt'}, report.json")
    if stopped:
        return _STOPPED
    return 1 if total.failing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=40, help="how many histories")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help="how many at once")
    parser.add_argument("--out", type=Path, default=_OUT, help="where report and failures are kept")
    parser.add_argument("--show", action="store_true", help="print the schedules only")
    asked = parser.parse_args()
    asked.seeds = range(asked.first, asked.first + asked.seeds)
    return asked


if __name__ == "__main__":
    sys.exit(main())
