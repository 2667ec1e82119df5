"""Two dispatchers of two hosts over one store: what one holds, the other leaves alone until it lapses."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from contextlib import closing

import psutil
from aiohttp import web
from bench import Bench
from scripted import HANG, completion
from waiting import until

from batchline.blobs import open_blobs
from batchline.states import BatchStatus
from batchline.store import open_store
from batchline.store.database.direct import ASKS_EVERY_MS, begin

LINES = 8
LEASE_S = 3  # renewed in time on a crowded machine, too
LAST = f"t{LINES - 1}"


def leases(path):
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT holder, leased_until_ms FROM slices WHERE state = 'leased'")
        return rows.fetchall()


async def freeze(process, path):
    """Stop it while we hold the lock for writing: stopped inside a transaction, it would keep the lock."""
    asking_s = (
        ASKS_EVERY_MS / 1000
    )  # else it would get no turn beside those that write all the time
    with closing(
        sqlite3.connect(path, timeout=asking_s, isolation_level=None, check_same_thread=False)
    ) as db:
        # In a thread: the other dispatcher runs in this loop, and may be within a transaction.
        await asyncio.to_thread(begin, db, busy_s=60)
        process.send_signal(signal.SIGSTOP)
        await until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


async def test_a_dispatcher_that_wakes_after_its_lease_settles_nothing_and_aborts(
    make_system, upstream, tmp_path
):
    """Stopped by SIGSTOP for longer than its lease: another cell answers, and its word stands."""
    wakes = asyncio.Event()

    async def script(body, attempt):
        if attempt == 1 and body["tag"] == "t0":
            await wakes.wait()  # answered while the first dispatcher sleeps
            return web.json_response(completion("too late"))
        if attempt == 1 or body["tag"] == LAST:
            return HANG
        return web.json_response(completion("in time"))

    upstream.script = script
    system = make_system(started=("gateway",), cell="a", lease_s=LEASE_S, grace_s=0)
    data = tmp_path / "data"
    database = data / "batchline.sqlite3"
    await until(database.exists)
    async with open_store(database, clock_ms=lambda: int(time.time() * 1000)) as store:
        bench = Bench(store, open_blobs(data / "blobs"), data, upstream)
        made = await bench.submit(LINES)
        system.start("dispatcher")
        await until(lambda: len(upstream.seen) == LINES)
        [(holder, first_until)] = leases(database)
        async with bench.running(cell="b"):
            # While the first one lives, it renews: nothing of its slice is claimed or sent.
            await until(lambda: leases(database)[0][1] > first_until + LEASE_S * 1000)
            assert leases(database)[0][0] == holder
            assert set(upstream.seen.values()) == {1}

            await freeze(system.processes["dispatcher"], database)
            wakes.set()
            await until(lambda: set(upstream.seen.values()) == {2})
            system.processes["dispatcher"].send_signal(signal.SIGCONT)
            await until(lambda: upstream.disconnects == LINES - 1)
            await until(lambda: "after their lease was lost" in system.logs())
            upstream.release.set()
            ended = await bench.ended(made)
        output, errors = await bench.results(ended)

    assert holder.startswith("a/")
    assert (ended.status, errors) == (BatchStatus.COMPLETED, [])
    assert "too late" not in json.dumps(output)
