"""A huge batch whose dispatcher was killed: its successor goes on without reading it all again.

`benchmarks/recovery.py` measures the same with a million lines; here is what does not depend on the clock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from scripted import taking
from waiting import until

from benchmarks.half_done import make_half_done

LINES = 20_000
IN_FLIGHT = 64


def read_bytes(process):
    """How much a process has read so far, from files and sockets, cached or not."""
    text = Path(f"/proc/{process.pid}/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def settled(path):
    with closing(sqlite3.connect(path)) as db:
        return {line for (line,) in db.execute("SELECT line FROM outcomes")}


def lines_of(request_ids):
    return [int(name[-8:], 16) for name in request_ids]


async def test_a_successor_sends_again_only_what_was_in_flight(make_system, upstream, tmp_path):
    """Killed in the middle of 20,000 lines of 40 MB: what is settled is not sent, and little is read."""
    data = tmp_path / "data"
    made = await make_half_done(data, lines=LINES, done=LINES // 2, kilobytes=2)

    upstream.script, upstream.models = taking(0.02), ["instant"]
    system = make_system(started=("dispatcher",), max_in_flight=IN_FLIGHT, lease_s=600, grace_s=0)
    await until(lambda: len(upstream.request_ids) > 600)
    await asyncio.to_thread(system.kill, "dispatcher")
    await until(lambda: not upstream.connections)  # what it sent last is read
    done = settled(data / "batchline.sqlite3")
    before = set(lines_of(upstream.request_ids))
    upstream.request_ids.clear()

    system.start("dispatcher")
    await until(lambda: upstream.request_ids)
    read = read_bytes(system.processes["dispatcher"])
    await until(lambda: len(upstream.request_ids) > 600)

    after = lines_of(upstream.request_ids)
    assert made.input_bytes > 35e6
    assert read < made.input_bytes / 2  # a third of it are Python's own modules
    assert set(after).isdisjoint(done)
    # In flight, or answered and not yet durable; at once: the lease of ten minutes does not matter.
    assert set(after) & before == before - done
    assert len(after) == len(set(after))
