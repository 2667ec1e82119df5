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
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import aiohttp
import psutil

from .throughput import Memory, cpu_s, free_port, running

_SLOTS = 64
_OPEN = ("validating", "in_progress", "finalizing", "cancelling")
_AT_ONCE = 16
_LINES_A_PIECE = 64
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

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def create(self, lines: Iterator[bytes]) -> str:
        """Upload a file and make a batch of it."""
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", _sent(lines), filename="in.jsonl")
        async with self._http.post("/v1/files", data=form) as answer:
            file = await answer.json()
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        async with self._http.post("/v1/batches", json=body) as answer:
            return str((await answer.json())["id"])

    async def create_many(self, count: int, lines: int) -> list[str]:
        """Make batches, several at a time."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one() -> str:
            async with turns:
                return await self.create(requests(lines))

        return await asyncio.gather(*(one() for _ in range(count)))

    async def until_none_is(self, statuses: Collection[str], among: Collection[str]) -> None:
        """Wait until no batch of `among`, the newest there are, has one of the statuses."""
        query = [("limit", "1"), *(("status", status) for status in statuses)]
        while True:
            async with self._http.get("/v1/batches", params=query) as answer:
                found = (await answer.json())["data"]  # newest first
            if not found or found[0]["id"] not in among:
                return
            await asyncio.sleep(0.05)

    async def until_ready(self) -> None:
        """Wait until gateway, dispatcher and upstream work together."""
        while True:
            with suppress(aiohttp.ClientError):
                async with self._http.get("/ready"):
                    return
            await asyncio.sleep(0.1)


async def _sent(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Give the lines in pieces worth a packet."""
    while piece := b"".join(islice(lines, _LINES_A_PIECE)):
        yield piece


async def play(scene: Scene, api: str, upstream: str) -> float:
    """Return the seconds from the first creation to the last end."""
    async with aiohttp.ClientSession(api, raise_for_status=True) as http:
        client = Client(http)
        await client.until_ready()
        if scene.blocked:
            waiting = [
                await client.create(requests(20, model="other")) for _ in range(scene.blocked)
            ]
            await client.until_none_is({"validating"}, set(waiting))
            await http.post(f"{upstream}/models", json=["instant"])
            await asyncio.sleep(2 * scene.seconds)  # what was in flight has ended
        started = time.monotonic()
        made = [await client.create(requests(scene.large))] if scene.large else []
        if scene.line_bytes:
            made.append(await client.create(requests(scene.lines, size_bytes=scene.line_bytes)))
            started = time.monotonic()
        else:
            made += await client.create_many(scene.batches, scene.lines)
        await client.until_none_is(_OPEN, set(made))
        return time.monotonic() - started


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
        took_s = asyncio.run(play(scene, api, f"http://127.0.0.1:{port}"))
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
