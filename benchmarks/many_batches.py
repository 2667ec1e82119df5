"""How near to what the slots allow many batches end, and how much memory long lines take.

Run as `python -m benchmarks.many_batches [SCENE …]`, all scenes unless told:

    small       400 batches of one line of 2 s on 64 slots
    beside      5,000 batches of two lines beside one of 20,000, 0.2 s a line, 64 slots
    blocked     the same 400 as `small` while 50 batches wait for a model that is gone
    images      320 lines of 8 MB: the dispatcher's peak memory

Each prints the seconds that it took from the first creation on, beside those that the slots would take
alone (the yardstick), and the dispatcher's share of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from .throughput import Memory, cpu_s, free_port, running

_SLOTS = 64
_ENDED = {"completed", "failed", "expired", "cancelled"}
_AT_ONCE = 16
_SETTINGS = {"BATCHLINE_MAX_FILE_BYTES": str(8 << 30)}


@dataclass(frozen=True, slots=True)
class Scene:
    """So many batches of so many lines, beside one large one."""

    batches: int
    lines: int
    seconds: float
    large: int = 0
    blocked: int = 0
    line_bytes: int = 0

    @property
    def ideal_s(self) -> float:
        """What the slots take."""
        return (self.batches * self.lines + self.large) * self.seconds / _SLOTS


SCENES = {
    "small": Scene(batches=400, lines=1, seconds=2.0),
    "beside": Scene(batches=5000, lines=2, seconds=0.2, large=20_000),
    "blocked": Scene(batches=400, lines=1, seconds=2.0, blocked=50),
    "images": Scene(batches=1, lines=320, seconds=0.3, line_bytes=8 << 20),
}


def requests(count: int, *, model: str = "instant", size_bytes: int = 0) -> Iterator[bytes]:
    """Yield the lines of one input file."""
    for number in range(count):
        body = {"model": model, "messages": [{"role": "user", "content": "x" * size_bytes}]}
        line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions"}
        yield json.dumps(line | {"body": body}).encode() + b"\n"


class Client:
    """Makes batches and waits for them."""

    def __init__(self, http: httpx.AsyncClient, folder: Path) -> None:
        self._http = http
        self._folder = folder

    async def create(self, lines: Iterator[bytes]) -> str:
        """Upload a file and make a batch of it."""
        with tempfile.TemporaryFile(dir=self._folder) as file:
            file.writelines(lines)
            file.seek(0)
            answer = await self._http.post(
                "/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)}
            )
        body = {
            "input_file_id": answer.raise_for_status().json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        batch = (await self._http.post("/batches", json=body)).raise_for_status().json()
        return str(batch["id"])

    async def create_many(self, count: int, lines: int) -> list[str]:
        """Make batches, several at a time."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one() -> str:
            async with turns:
                return await self.create(requests(lines))

        return await asyncio.gather(*(one() for _ in range(count)))

    async def until(self, batch_ids: list[str], statuses: set[str]) -> None:
        """Wait until all of them have one of the statuses."""
        left = deque(batch_ids)  # they end about as they were made: one is asked for at a time
        while left:
            status = (await self._http.get(f"/batches/{left[0]}")).json()["status"]
            if status in statuses:
                left.popleft()
            else:
                await asyncio.sleep(0.05)


async def play(scene: Scene, api: str, upstream: str, folder: Path) -> float:
    """Return the seconds from the first creation to the last end."""
    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with httpx.AsyncClient(
        base_url=f"{api}/v1", timeout=600, trust_env=False, limits=limits
    ) as http:
        client = Client(http, folder)
        while not (await _ready(http, api)):
            await asyncio.sleep(0.1)
        if scene.blocked:
            waiting = [
                await client.create(requests(20, model="other")) for _ in range(scene.blocked)
            ]
            await client.until(waiting, {"in_progress", *_ENDED})
            await http.post(f"{upstream}/models", json=["instant"])
            await asyncio.sleep(2 * scene.seconds)  # what was in flight has ended
        started = time.monotonic()
        made = [await client.create(requests(scene.large))] if scene.large else []
        if scene.line_bytes:
            made.append(await client.create(requests(scene.lines, size_bytes=scene.line_bytes)))
            started = time.monotonic()
        else:
            made += await client.create_many(scene.batches, scene.lines)
        await client.until(made, _ENDED)
        return time.monotonic() - started


async def _ready(http: httpx.AsyncClient, api: str) -> bool:
    try:
        return (await http.get(f"{api}/ready")).is_success
    except httpx.TransportError:
        return False


@contextmanager
def slots(seconds: float) -> Iterator[int]:
    """Run the upstream; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.slots", str(port), str(_SLOTS), str(seconds)]
    upstream = subprocess.Popen(command)
    try:
        time.sleep(1)
        yield port
    finally:
        upstream.kill()


def measure(name: str) -> None:
    """Play one scene and print."""
    scene = SCENES[name]
    with (
        tempfile.TemporaryDirectory(prefix="batchline-bench-") as folder,
        slots(scene.seconds) as port,
        running(Path(folder), port, _SETTINGS) as (api, processes),
        Memory(processes) as memory,
    ):
        dispatcher = psutil.Process(processes["dispatcher"].pid)
        before, began = cpu_s(dispatcher), time.monotonic()
        took_s = asyncio.run(play(scene, api, f"http://127.0.0.1:{port}", Path(folder)))
        cores = (cpu_s(dispatcher) - before) / (time.monotonic() - began)
    print(
        f"{name:>8}  {took_s:8.1f} s  ideal {scene.ideal_s:6.1f} s  ratio {took_s / scene.ideal_s:5.2f}"
        f"  dispatcher {cores:4.2f} cores, peak {memory.peaks['dispatcher']:,.0f} MB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", choices=[[], *SCENES], default=[])
    for name in parser.parse_args().scenes or SCENES:
        measure(name)


if __name__ == "__main__":
    main()
