"""How fast lines go out while a handler of results wastes all the processor time that it can get.

Run as `python -m benchmarks.beside_handlers [--lines 20000] [--rounds 3]`. Each round sends a batch with
nobody at work beside it, then one while a handler spins on an earlier batch, its child process holding a
core. Real gateway, dispatcher and deliverer, an instant upstream; all share this machine's cores. Prints
lines per second and the dispatcher's CPU time a line of both, medians over the rounds, and their ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from .throughput import free_port, measure, running, write_input

_HANDLER = """
from pathlib import Path

from batchline.handlers import register_handler


@register_handler
class Spinning:
    name = "spinning"

    async def handle(self, batch, results, context):
        Path(__file__).with_suffix(".began").touch()
        while True:
            pass
"""
_BEGIN_S = 60.0


@contextmanager
def spinning(folder: Path) -> Iterator[None]:
    """Run a deliverer whose handler spins on the batches that have ended."""
    handlers = folder / "handlers"
    handlers.mkdir(exist_ok=True)
    (handlers / "spinning.py").write_text(_HANDLER)
    began = handlers / "spinning.began"
    began.unlink(missing_ok=True)
    environment = os.environ | {
        "BATCHLINE_DATA_DIR": str(folder / "data"),
        "BATCHLINE_DELIVERER_PORT": str(free_port()),
        "BATCHLINE_HANDLERS_FOLDER": str(handlers),
        "BATCHLINE_LOG_LEVEL": "WARNING",
    }
    deliverer = subprocess.Popen(
        [sys.executable, "-m", "batchline.cli.main", "deliver"], env=environment
    )
    try:
        deadline = time.monotonic() + _BEGIN_S
        while not began.exists():
            if time.monotonic() > deadline:
                raise SystemExit("no handler began")
            time.sleep(0.05)
        yield
    finally:
        deliverer.terminate()
        deliverer.wait(60)


def figures(api: str, file: Path, dispatcher: psutil.Process, lines: int) -> tuple[float, float]:
    """Send a batch; return lines per second and CPU microseconds a line."""
    stages = measure(api, file, dispatcher)
    return lines / stages["run"], stages["cpu"] / lines * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    alone, beside = [], []
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        folder = Path(name)
        file = folder / "input.jsonl"
        write_input(file, options.lines, options.kilobytes)
        port = free_port()
        upstream = subprocess.Popen([sys.executable, "-m", "benchmarks.instant", str(port)])
        try:
            time.sleep(1)
            with running(folder, port) as (api, processes):
                dispatcher = psutil.Process(processes["dispatcher"].pid)
                measure(api, file, dispatcher)  # warms up, and is what the handler is given
                for _ in range(options.rounds):
                    alone.append(figures(api, file, dispatcher, options.lines))
                    with spinning(folder):
                        beside.append(figures(api, file, dispatcher, options.lines))
        finally:
            upstream.kill()
    speeds = [statistics.median(one[0] for one in kind) for kind in (alone, beside)]
    costs = [statistics.median(one[1] for one in kind) for kind in (alone, beside)]
    result = {
        "lines_s": speeds[0],
        "beside_lines_s": speeds[1],
        "ratio": speeds[1] / speeds[0],
        "cpu_us_line": costs[0],
        "beside_cpu_us_line": costs[1],
        "cpu_ratio": costs[1] / costs[0],
    }
    for key, value in result.items():
        print(f"{key:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
