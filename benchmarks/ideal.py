"""The yardstick: the least loop that answers a JSONL file durably, with none of batchline's guarantees.

Run as `python -m benchmarks.ideal FILE URL FOLDER IN_FLIGHT`: reads raw bodies, posts them, and every
50 ms appends the answers, syncs them and commits their rows. Prints, as JSON, lines per second and the
CPU microseconds of a line.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from yarl import URL


class _Line(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


async def main(file: Path, url: str, folder: Path, in_flight: int) -> dict[str, float]:
    """Return lines per second, and the CPU microseconds of a line."""
    lines = file.read_bytes().splitlines()
    decode = msgspec.json.Decoder(_Line).decode
    target = URL(url + "/v1/chat/completions")
    database = sqlite3.connect(folder / "ideal.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE done (line INTEGER PRIMARY KEY)")
    results = os.open(folder / "ideal.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    pending: list[tuple[int, bytes]] = []
    numbers = iter(range(len(lines)))

    def store() -> None:
        group, pending[:] = list(pending), []
        os.write(results, b"".join(record for _, record in group))
        os.fdatasync(results)
        database.execute("BEGIN")
        database.executemany("INSERT INTO done VALUES (?)", [(number,) for number, _ in group])
        database.execute("COMMIT")

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            line = decode(lines[number])
            async with session.post(target, data=bytes(line.body)) as response:
                body = await response.read()
            head = b'{"custom_id": "%s", "response": ' % line.custom_id.encode()
            pending.append((number, head + body + b"}\n"))

    async def keep_storing() -> None:
        while True:
            await asyncio.sleep(0.05)
            store()

    started, cpu_before = time.monotonic(), time.process_time()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        storing = asyncio.ensure_future(keep_storing())
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
        storing.cancel()
    store()
    return {
        "lines_s": len(lines) / (time.monotonic() - started),
        "cpu_us_line": (time.process_time() - cpu_before) / len(lines) * 1e6,
    }


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)  # as batchline's services do
    found = uvloop.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
    print(json.dumps(found))
