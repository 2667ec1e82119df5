"""How much memory and time a file of all answers of a huge batch takes, joined with their requests.

Run as `python -m benchmarks.exports [parquet|csv] [--lines 1000000] [--kilobytes 1]`. Makes a data directory
with a batch that has ended, published by a real dispatcher, and lets a real deliverer run the handler on it.
Prints the seconds from the start of the handler's process to the file, its CPU time and peak memory, those
of the deliverer, and the yardstick of the same run: the CPU time of reading both files line by line
and decoding each with msgspec, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec
import psutil

from batchline.store import open_store

from .half_done import make_half_done
from .recovery import process, until
from .throughput import free_port

_NOBODY = "http://127.0.0.1:9"
_CHUNK_BYTES = 1 << 20
_WAIT_S = 3600.0


class Watch(threading.Thread):
    """Samples a process, and the child of it that runs a handler."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._deliverer = psutil.Process(pid)
        self._is_over = threading.Event()
        self.began: float | None = None
        self.peak_mb = {"deliverer": 0.0, "handler": 0.0}
        self.cpu_s = {"deliverer": 0.0, "handler": 0.0}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._is_over.wait(0.02):
            with suppress(psutil.NoSuchProcess):
                self._note("deliverer", self._deliverer)
            for child in self._deliverer.children():
                with suppress(psutil.NoSuchProcess):
                    if "run" in child.cmdline():
                        self.began = self.began or time.monotonic()
                        self._note("handler", child)

    def _note(self, name: str, one: psutil.Process) -> None:
        times = one.cpu_times()
        self.cpu_s[name] = times.user + times.system
        self.peak_mb[name] = max(self.peak_mb[name], one.memory_info().rss / 1e6)


async def publish(folder: Path, batch_id: str) -> Sequence[str]:
    """Let a dispatcher write the result files; return the keys of the input and the output."""
    port = free_port()
    with process("dispatcher", folder, upstream_url=_NOBODY, dispatcher_port=port):
        async with open_store(
            folder / "data/batchline.sqlite3", clock_ms=lambda: int(time.time() * 1000)
        ) as store:
            while True:
                batch = await store.get_batch(batch_id)
                if batch is not None and batch.output_file_id is not None:
                    break
                await asyncio.sleep(0.1)
            output = await store.get_file(batch.output_file_id, now=0)
            assert output is not None
            return batch.input_key, output.blob_key


def lines(path: Path) -> Iterator[bytes]:
    """Read a file line by line."""
    tail = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            *found, tail = (tail + chunk).split(b"\n")
            yield from found


def decode(folder: Path, keys: Sequence[str]) -> float:
    """Return the CPU time of the yardstick."""
    began = time.process_time()
    for key in keys:
        for line in lines(folder / "data/blobs" / key):
            msgspec.json.decode(line)
    return time.process_time() - began


def export(folder: Path, batch_id: str, kind: str) -> dict[str, float]:
    """Let a deliverer run the handler; return what that took."""
    exported = folder / "exports"
    section = {kind: {"folder": str(exported)}}
    (folder / "handlers.yaml").write_text(json.dumps(section))
    file = exported / f"{batch_id}.{kind}"
    with (
        process(
            "deliver",
            folder,
            handlers_file=folder / "handlers.yaml",
            deliverer_port=free_port(),
        ) as deliverer,
        Watch(deliverer.pid) as watch,
    ):
        ended = until(file.exists, within_s=_WAIT_S)
        time.sleep(0.2)
    assert watch.began is not None
    return {
        "file_s": ended - watch.began,
        "file_mb": file.stat().st_size / 1e6,
        **{f"{name}_cpu_s": taken for name, taken in watch.cpu_s.items()},
        **{f"{name}_peak_mb": peak for name, peak in watch.peak_mb.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--kilobytes", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        folder = Path(name)
        made = asyncio.run(
            make_half_done(
                folder / "data",
                lines=options.lines,
                done=options.lines,
                kilobytes=options.kilobytes,
            )
        )
        keys = asyncio.run(publish(folder, made.batch_id))
        result = {"lines": made.lines, "input_mb": made.input_bytes / 1e6}
        result |= export(folder, made.batch_id, options.kind)
        result["decode_cpu_s"] = decode(folder, keys)
    for key, value in result.items():
        print(f"{key:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
