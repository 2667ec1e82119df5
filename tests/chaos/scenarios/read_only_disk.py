"""The disk fails in the middle of a batch and is read-only: reads answer, writes say why, nothing is lost.

The processes meet it while they run, then they are killed and started on it, then it is mended, mounted
again, and the batch completes.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import openai

from .small_disks import failing_disk
from .stage import Stage, lines, notices, staged, until

_LATENCY_S = 0.1


@dataclass
class ReadOnly:
    """What one run measured."""

    lines: int
    reads: dict[str, str] = field(default_factory=dict)
    writes: dict[str, str] = field(default_factory=dict)
    ready: str = ""
    dashboard: str = ""
    starts: dict[str, str] = field(default_factory=dict)
    """Exit code and last log line of each process that was started on the read-only disk."""
    status: str = ""
    failed: int = -1
    in_order: bool = False
    settled_before: int = 0
    sent_again: int = 0
    in_flight_when_it_failed: int = 0
    integrity: str = ""
    tracebacks: int = 0

    def check(self) -> None:
        assert set(self.reads.values()) == {"answered"}, self.reads
        assert all(text.startswith("503") for text in self.writes.values()), self.writes
        assert all("read-only" in text for text in self.writes.values()), self.writes
        assert all("Mount" in text for text in self.writes.values()), self.writes
        assert "read-only" in self.ready
        assert "read-only" in self.dashboard
        assert all(text.startswith("1 ") for text in self.starts.values()), self.starts
        assert all("read-only" in text for text in self.starts.values()), self.starts
        assert (self.status, self.failed, self.in_order) == ("completed", 0, True)
        assert self.integrity == "ok"
        assert self.tracebacks == 0
        assert self.sent_again <= self.in_flight_when_it_failed

    def __str__(self) -> str:
        return "\n  ".join(f"{name}: {value}" for name, value in vars(self).items())


def run(folder: Path, *, count: int = 4000) -> ReadOnly:
    """Let the disk fail once a quarter of the batch is done."""
    measured = ReadOnly(count)
    with failing_disk(folder, size_mib=128) as disk:
        with staged(
            folder,
            servers=2,
            latency_s=_LATENCY_S,
            data_dir=disk.path / "data",
            max_in_flight=64,
            min_free_bytes=0,
        ) as stage:
            stage.start()
            small = stage.system.ended(stage.system.submit(lines(3)))
            batch = stage.system.submit(lines(count))
            stage.system.until(batch, lambda b: b.request_counts.completed > count // 4)
            disk.fail()
            _ask(stage, batch, small, measured)
            measured.in_flight_when_it_failed = _unsettled(stage, batch, measured)
            for name in ("dispatcher", "gateway"):
                stage.kill(name)
            for name in ("dispatcher", "gateway"):
                measured.starts[name] = _start_alone(stage, name)
            disk.unmount()
            disk.mount()
            stage.system.start("gateway", "dispatcher")
            stage.system.wait_ready()
            ended = stage.system.ended(batch)
            output, errors = stage.system.results(ended)
            measured.status, measured.failed = ended.status, len(errors)
            measured.in_order = [o["custom_id"] for o in output] == [
                f"id-{n}" for n in range(count)
            ]
            measured.sent_again = stage.servers.sends().total() - count - 3
            measured.tracebacks = stage.system.logs().count("Traceback")
        with closing(sqlite3.connect(disk.path / "data" / "batchline.sqlite3")) as database:
            (measured.integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    return measured


def _ask(stage: Stage, batch, small, measured: ReadOnly) -> None:
    system = stage.system
    client = system.client.with_options(max_retries=0)
    reads: dict[str, Callable[[], object]] = {
        "retrieve a batch": lambda: client.batches.retrieve(batch.id),
        "list batches": lambda: list(client.batches.list()),
        "list files": lambda: list(client.files.list()),
        "results of an ended batch": lambda: client.files.content(small.output_file_id).text,
        "results of a running batch": lambda: _plain(system, f"/v1/batches/{batch.id}/results"),
        "dashboard": lambda: _plain(system, "/"),
        "metrics": lambda: _plain(system, "/metrics"),
        "models": lambda: list(client.models.list()),
    }
    writes: dict[str, Callable[[], object]] = {
        "upload": lambda: client.files.create(file=lines(5), purpose="batch"),
        "begin an upload": lambda: client.uploads.create(
            bytes=5, filename="a.jsonl", mime_type="application/jsonl", purpose="batch"
        ),
        "create a batch": lambda: client.batches.create(
            input_file_id=small.input_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        ),
        "cancel": lambda: client.batches.cancel(batch.id),
        "delete a file": lambda: client.files.delete(small.input_file_id),
    }
    measured.reads = {name: _outcome(call) for name, call in reads.items()}
    measured.writes = {name: _outcome(call) for name, call in writes.items()}
    until(lambda: "stored" in notices(system), within_s=40, what="the notice")
    measured.dashboard = notices(system)
    measured.ready = system.get("/ready")[1]


def _plain(system, path: str) -> None:
    status, text = system.get(path)
    assert status == 200, f"{status} {text}"


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except openai.APIStatusError as exc:
        return f"{exc.status_code} {exc.message}"
    except AssertionError as exc:
        return str(exc)
    return "answered"


def _unsettled(stage: Stage, batch, measured: ReadOnly) -> int:
    """Return how many lines were sent and are not counted as finished."""
    counts = stage.system.client.batches.retrieve(batch.id).request_counts
    measured.settled_before = counts.completed
    return stage.servers.sends().total() - 3 - counts.completed


def _start_alone(stage: Stage, name: str) -> str:
    """Start a process that will end by itself; return its exit code and last word."""
    done = subprocess.run(
        [sys.executable, "-m", "batchline.cli.main", name],
        env=stage.system.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return f"{done.returncode} {done.stderr.strip().splitlines()[-1]}"
