"""How long the cancel of a huge batch takes, most of which is writing its result files.

Run as `python -m benchmarks.cancel [--lines 1000000] [--kilobytes 1]`. Makes a data directory with half of
the batch done, cancels it through a real gateway while a real dispatcher runs that has no model server,
and prints the seconds until it is `cancelled`, the dispatcher's CPU time a line, and the yardstick of the
same run: the seconds that copying the two result files takes, synced.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from .half_done import HalfDone, make_half_done
from .recovery import process, until
from .throughput import cpu_s, free_port

_NOBODY = "http://127.0.0.1:9"


def cancel(folder: Path, made: HalfDone) -> dict[str, float]:
    """Cancel the batch; return what that took."""
    port = free_port()
    with (
        process("gateway", folder, port=port),
        process(
            "dispatcher", folder, upstream_url=_NOBODY, dispatcher_port=free_port()
        ) as dispatcher,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):
        until(lambda: _says(client, "takes no connections", "does not accept connections"))
        before = cpu_s(psutil.Process(dispatcher.pid))
        started = time.monotonic()
        path = f"/v1/batches/{made.batch_id}"
        client.post(f"{path}/cancel").raise_for_status()
        ended = until(lambda: client.get(path).json()["status"] == "cancelled")
        cpu = cpu_s(psutil.Process(dispatcher.pid)) - before
        batch = client.get(path).json()
        sizes = [
            client.get(f"/v1/files/{batch[name]}").json()["bytes"]
            for name in ("output_file_id", "error_file_id")
        ]
    return {
        "cancelled_s": ended - started,
        "cpu_us_line": cpu / made.lines * 1e6,
        "written_mb": sum(sizes) / 1e6,
    }


def _says(client: httpx.Client, *words: str) -> bool:
    """Whether the gateway answers, and has heard from the dispatcher."""
    try:
        said = client.get("/ready").text
    except httpx.TransportError:
        return False
    return any(word in said for word in words)


def copy_synced(folder: Path, size_bytes: float) -> float:
    """Return the seconds that writing so many bytes and syncing them takes."""
    source = folder / "source"
    with source.open("wb") as file:
        file.truncate(int(size_bytes))
    started = time.monotonic()
    with source.open("rb") as reader, (folder / "copy").open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        os.fsync(writer.fileno())
    return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--kilobytes", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        folder = Path(name)
        made = asyncio.run(
            make_half_done(
                folder / "data",
                lines=options.lines,
                done=options.lines // 2,
                kilobytes=options.kilobytes,
            )
        )
        result = {"lines": made.lines, "done": made.done} | cancel(folder, made)
        result["copy_s"] = copy_synced(folder, result["written_mb"] * 1e6)
    for key, value in result.items():
        print(f"{key:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
