"""Each failpoint in turn, in real processes: whatever dies or fails there, no line is lost or doubled."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from inputs import requests
from scripted import Share
from waiting import wait_until

from batchline.process.failpoints import POINTS

GATEWAY_POINTS = ("blob.written", "blob.renamed", "upload.stored")
ELSEWHERE = {"upload.stored", "migrate.statement", "backup.snapshot", "backup.copied"}
DISPATCHER_POINTS = tuple(p for p in POINTS if p not in ELSEWHERE)
LINES = 150
IN_FLIGHT = 16

pytestmark = pytest.mark.slow


@contextmanager
def kept_running(system):
    """Start what dies again, without failpoints; yield the exit codes seen."""
    codes, stop = [], threading.Event()

    def keep():
        while not stop.wait(0.05):
            for name, process in list(system.processes.items()):
                if process.poll() is not None:
                    codes.append(process.returncode)
                    system.start(name)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield codes
    finally:
        stop.set()
        keeper.join()


@pytest.mark.parametrize("action", ["crash", "error"])
@pytest.mark.parametrize(
    ("process", "point"),
    [("gateway", point) for point in (*GATEWAY_POINTS, "migrate.statement")]
    + [("dispatcher", point) for point in DISPATCHER_POINTS],
)
async def test_each_line_is_answered_once(make_system, upstream, process, point, action):
    """Upload, validation, dispatch, settling, publishing and sweeping are each cut once."""
    await check(make_system, upstream, process, f"{point}={action}", dies=action == "crash")


async def test_a_torn_segment_does_not_exist(make_system, upstream):
    """Half of a group of results is on the disk and the process is gone."""
    await check(make_system, upstream, "dispatcher", "segment.append=torn", dies=True)


@pytest.mark.parametrize("point", ["segment.appended", "settle.rows", "send.answered"])
async def test_a_later_pass_may_be_the_one(make_system, upstream, point):
    """Part of the batch is settled already."""
    await check(
        make_system, upstream, "dispatcher", f"{point}=crash@3", dies=True, steps=(40, 80, LINES)
    )


async def test_slices_whose_bodies_cannot_be_read_are_given_back(make_system, upstream):
    """A disk that refuses once does not keep them until their lease is over."""
    await check(make_system, upstream, "dispatcher", "claim.read=error", dies=False, lease_s=600)


async def check(make_system, upstream, process, failpoints, *, dies, lease_s=2, steps=(LINES,)):
    """Cut it once; the lines are answered in steps, each when those before are settled."""
    share = upstream.script = Share(0)
    system = make_system(started=(), max_in_flight=IN_FLIGHT, lease_s=lease_s, retry_max_s=0.2)
    point = failpoints.partition("=")[0]

    def drive():
        other = "dispatcher" if process == "gateway" else "gateway"
        system.start(process, failpoints=failpoints)
        with kept_running(system) as codes:
            if point == "migrate.statement":
                system.until_logged(f"failpoint {point}")  # who starts first migrates
            system.start(other)
            system.wait_ready()
            batch = system.submit(requests(LINES))
            for lines in steps:
                share.many = lines
                system.until(batch, lambda b, n=lines: b.request_counts.completed >= n)
            batch = system.ended(batch)
            results = system.results(batch)
            system.until_logged(f"failpoint {point}")
            if dies:  # it may have been the last thing it did
                wait_until(lambda: codes)
            return batch, *results, codes

    batch, output, errors, codes = await asyncio.to_thread(drive)

    assert batch.status == "completed"
    assert (len(output), errors) == (LINES, [])
    assert [line["custom_id"] for line in output] == [f"id-{i}" for i in range(LINES)]
    # without a death only the line on which the point lay may have been sent again
    assert sum(upstream.seen.values()) <= LINES + (LINES if codes else 1)
    assert (-9 in codes) is dies
