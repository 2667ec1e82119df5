"""What a sick model server beside a well one costs: lines that fail, and time.

Run as `python -m benchmarks.sick [--lines 2000] [--form NAME ...]`. Real gateway, dispatcher and nginx. First
a batch runs on the well server alone, then one for each form of sickness on both. Prints the time of each
over the first one's, the lines that failed, and how many requests the sick server got (canaries included).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx

from . import sickness
from .throughput import free_port, running, wait_ready

_MOST_RATIO = 1.3
_ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass(frozen=True, slots=True)
class Run:
    """How one batch went."""

    seconds: float
    """From in_progress to its end."""
    completed: int
    failed: int
    refused: int = 0
    """Requests that the sick server got."""


def write_input(path: Path, lines: int, endpoint: str) -> None:
    """Write a batch file for this endpoint."""
    with path.open("w") as file:
        for number in range(lines):
            line = {
                "custom_id": f"request-{number}",
                "method": "POST",
                "url": endpoint,
                "body": sickness.request(endpoint, f"question {number}"),
            }
            file.write(json.dumps(line) + "\n")


@contextmanager
def process(*command: str) -> Iterator[None]:
    """Run a program until the body has ended."""
    started = subprocess.Popen(command)
    try:
        yield
    finally:
        started.terminate()
        started.wait(30)


@contextmanager
def fleet(folder: Path, forms: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Run servers in these forms (empty: well) behind nginx; yield its port and theirs."""
    front, ports = free_port(), [free_port() for _ in forms]
    config, log = folder / "nginx.conf", folder / "nginx.log"
    config.write_text(
        render_nginx(
            [f"127.0.0.1:{port}" for port in ports],
            listen=f"127.0.0.1:{front}",
            run_dir=str(folder),
            error_log=str(log),
            foreground=True,
        )
    )
    with ExitStack() as stack:
        for port, form in zip(ports, forms, strict=True):
            command = (sys.executable, "-m", "benchmarks.sick_server", str(port), "--sick", form)
            stack.enter_context(process(*command))
        stack.enter_context(process(*nginx_argv(find_nginx(), config, error_log=log)))
        for port in ports:
            _until_healthy(port)
        yield front, ports


def _until_healthy(port: int) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def run(lines: int, endpoint: str, *forms: str) -> Run:
    """Run one batch on servers in these forms."""
    with tempfile.TemporaryDirectory(prefix="batchline-sick-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers are another user's
        file = folder / "input.jsonl"
        write_input(file, lines, endpoint)
        with fleet(folder, forms) as (front, ports):
            backends = ",".join(f"http://127.0.0.1:{port}" for port in ports)
            settings = {"BATCHLINE_BACKEND_URLS": backends, "BATCHLINE_LOG_LEVEL": "ERROR"}
            with running(folder, front, settings) as (api, _):
                seconds, counts = _measure(api, file, endpoint)
            refused = sum(_refused(port) for port in ports)
    return Run(seconds, counts["completed"], counts["failed"], refused)


def _refused(port: int) -> int:
    return int(httpx.get(f"http://127.0.0.1:{port}/refused", trust_env=False).text)


def _measure(api: str, file: Path, endpoint: str) -> tuple[float, dict[str, int]]:
    with httpx.Client(base_url=api + "/v1", timeout=600, trust_env=False) as client:
        wait_ready(client)
        with file.open("rb") as content:
            answer = client.post("/files", data={"purpose": "batch"}, files={"file": content})
        body = {
            "input_file_id": answer.raise_for_status().json()["id"],
            "endpoint": endpoint,
            "completion_window": "24h",
        }
        batch = client.post("/batches", json=body).raise_for_status().json()
        began_at = time.monotonic()
        while batch["status"] not in _ENDED:
            if batch["status"] == "validating":
                began_at = time.monotonic()
            time.sleep(0.02)
            batch = client.get(f"/batches/{batch['id']}").raise_for_status().json()
        return time.monotonic() - began_at, batch["request_counts"]


def main() -> int:
    """Measure and print; return 1 where lines failed or it took too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--form", action="append", help="only this form; may be given again")
    parser.add_argument("--others", action="store_true", help="the less usual forms, too")
    asked = parser.parse_args()
    forms = [*sickness.FORMS, *(sickness.OTHERS if asked.others or asked.form else ())]
    if asked.form:
        forms = [form for form in forms if form.name in asked.form]
    alone: dict[str, Run] = {}
    is_well = True
    print(f"{'form':24} {'seconds':>8} {'alone':>8} {'ratio':>6} {'failed':>7} {'asked':>6}")
    for form in forms:
        endpoint = form.endpoint
        if endpoint not in alone:
            alone[endpoint] = run(asked.lines, endpoint, "")
        found = run(asked.lines, endpoint, form.name, "")
        ratio = found.seconds / alone[endpoint].seconds
        is_well &= found.completed == asked.lines and ratio <= _MOST_RATIO
        print(
            f"{form.name:24} {found.seconds:8.2f} {alone[endpoint].seconds:8.2f} {ratio:6.2f} "
            f"{found.failed:7} {found.refused:6}",
            flush=True,
        )
    return 0 if is_well else 1


if __name__ == "__main__":
    raise SystemExit(main())
