"""How fast a whole batch goes through gateway and dispatcher, beside the ideal loop of the same run.

Run as `python -m benchmarks.throughput [--lines 50000] [--kilobytes 2]`. Real processes, full
durability, an instant upstream; all share this machine's cores. Prints lines per second from
in_progress to completed, the dispatcher's CPU time a line, the ratios of both to the ideal loop, and
the peak memory of each process.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import psutil

_IN_FLIGHT = 64
_SETTINGS = {"BATCHLINE_MAX_IN_FLIGHT": str(_IN_FLIGHT)}
_DONE = {"completed", "failed", "expired", "cancelled"}


def free_port() -> int:
    """Ask the system for a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_input(path: Path, lines: int, kilobytes: float) -> None:
    """Write a batch file of chat requests of about `kilobytes` each."""
    text = "The quick brown fox jumps over the lazy dog. " * max(1, int(kilobytes * 1000 / 45) - 4)
    with path.open("w") as file:
        for number in range(lines):
            body = {"model": "instant", "messages": [{"role": "user", "content": text}]}
            line = {
                "custom_id": f"request-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line) + "\n")


class Memory:
    """Samples the resident memory of processes and keeps the peaks, in MB."""

    def __init__(self, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self.peaks = dict.fromkeys(processes, 0.0)
        self._processes = {name: psutil.Process(p.pid) for name, p in processes.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            for name, process in self._processes.items():
                self.peaks[name] = max(self.peaks[name], process.memory_info().rss / 1e6)


@contextmanager
def running(
    folder: Path, upstream_port: int, settings: Mapping[str, str] = _SETTINGS
) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """Run gateway and dispatcher as processes; yield the API's address and the processes."""
    port = free_port()
    environment = os.environ | {
        "BATCHLINE_DATA_DIR": str(folder / "data"),
        "BATCHLINE_PORT": str(port),
        "BATCHLINE_DISPATCHER_PORT": str(free_port()),
        "BATCHLINE_UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
        "BATCHLINE_LOG_LEVEL": "WARNING",
        **settings,
    }
    processes = {
        name: subprocess.Popen([sys.executable, "-m", "batchline.cli.main", name], env=environment)
        for name in ("gateway", "dispatcher")
    }
    try:
        yield f"http://127.0.0.1:{port}", processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(30)


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process and all its threads have used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(api: str, file: Path, dispatcher: psutil.Process) -> dict[str, float]:
    """Send the file through the API; return the seconds of each stage, `cpu` the dispatcher's in the run."""
    stages: dict[str, float] = {}
    with httpx.Client(base_url=api + "/v1", timeout=600, trust_env=False) as client:
        wait_ready(client)
        started = time.monotonic()
        with file.open("rb") as content:
            answer = client.post("/files", data={"purpose": "batch"}, files={"file": content})
        stages["upload"] = time.monotonic() - started
        body = {
            "input_file_id": answer.raise_for_status().json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        batch = client.post("/batches", json=body).raise_for_status().json()
        started, cpu_before = time.monotonic(), cpu_s(dispatcher)
        while batch["status"] not in _DONE:
            if batch["status"] != "validating" and "validate" not in stages:
                stages["validate"], cpu_before = time.monotonic() - started, cpu_s(dispatcher)
            if batch["status"] == "finalizing" and "dispatch" not in stages:
                stages["dispatch"] = time.monotonic() - started - stages["validate"]
            time.sleep(0.02)
            batch = client.get(f"/batches/{batch['id']}").raise_for_status().json()
        stages["run"] = time.monotonic() - started - stages.get("validate", 0.0)
        stages["cpu"] = cpu_s(dispatcher) - cpu_before
        if batch["status"] != "completed" or batch["request_counts"]["failed"]:
            raise SystemExit(f"the batch did not complete: {batch}")
        started = time.monotonic()
        with client.stream("GET", f"/files/{batch['output_file_id']}/content") as response:
            got = sum(chunk.count(b"\n") for chunk in response.iter_bytes())
        stages["download"] = time.monotonic() - started
        if got != batch["request_counts"]["total"]:
            raise SystemExit(f"{got} result lines for {batch['request_counts']}")
    return stages


def wait_ready(client: httpx.Client) -> None:
    """Wait until the gateway says that it is ready."""
    for _ in range(600):
        try:
            if client.get(str(client.base_url).removesuffix("/v1/") + "/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit("the gateway did not become ready within 30 s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--kilobytes", type=float, default=2.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        folder = Path(name)
        file = folder / "input.jsonl"
        write_input(file, options.lines, options.kilobytes)
        port = free_port()
        upstream = subprocess.Popen([sys.executable, "-m", "benchmarks.instant", str(port)])
        try:
            time.sleep(1)
            url = f"http://127.0.0.1:{port}"
            command = [
                sys.executable,
                "-m",
                "benchmarks.ideal",
                str(file),
                url,
                name,
                str(_IN_FLIGHT),
            ]
            ideal = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            with running(folder, port) as (api, processes), Memory(processes) as memory:
                stages = measure(api, file, psutil.Process(processes["dispatcher"].pid))
        finally:
            upstream.kill()
        megabytes = file.stat().st_size / 1e6
    speed = options.lines / stages["run"]
    cpu_us = stages["cpu"] / options.lines * 1e6
    result = {
        "lines": options.lines,
        "input_mb": round(megabytes, 1),
        "upload_mb_s": round(megabytes / stages["upload"]),
        "validate_mb_s": round(megabytes / stages["validate"]),
        "dispatch_lines_s": round(options.lines / stages.get("dispatch", stages["run"])),
        "lines_s": round(speed),
        "ideal_lines_s": round(ideal["lines_s"]),
        "ratio": round(speed / ideal["lines_s"], 3),
        "cpu_us_line": round(cpu_us),
        "ideal_cpu_us_line": round(ideal["cpu_us_line"]),
        "cpu_ratio": round(ideal["cpu_us_line"] / cpu_us, 3),
        "download_s": round(stages["download"], 2),
        **{f"{name}_peak_mb": round(peak) for name, peak in memory.peaks.items()},
    }
    if options.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:>20}  {value:,}")


if __name__ == "__main__":
    main()
