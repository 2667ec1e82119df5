"""Each failpoint in turn, in real processes: whatever dies or fails there, no line is lost or doubled."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest
from inputs import requests
from processes import System
from scripted import Scripted, Share
from waiting import wait_until

from batchline.process.failpoints import POINTS

GATEWAY_POINTS = ("blob.written", "blob.renamed", "upload.stored")
OF_APPENDS = {
    "append.rows": "gateway",
    "append.stored": "gateway",
    "publish.joined": "dispatcher",
}
ELSEWHERE = {"upload.stored", "migrate.statement", "backup.snapshot", "backup.copied", *OF_APPENDS}
DISPATCHER_POINTS = tuple(p for p in POINTS if p not in ELSEWHERE)
LINES = 150
SETTINGS = {"max_in_flight": 16, "lease_s": 2, "retry_max_s": 0.2}

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


@pytest.fixture(scope="module")
def upstream():
    """One model server for all of them."""
    with Scripted().in_a_thread() as server:
        yield server


@pytest.fixture(scope="module")
def system(upstream, tmp_path_factory):
    """One data directory for all of them; each starts anew the process that it cuts."""
    system = System(tmp_path_factory.mktemp("cut"), upstream.url, **SETTINGS)
    yield system
    system.end()


@pytest.mark.parametrize("action", ["crash", "error"])
@pytest.mark.parametrize(
    ("process", "point"),
    [("gateway", point) for point in GATEWAY_POINTS]
    + [("dispatcher", point) for point in DISPATCHER_POINTS],
)
def test_each_line_is_answered_once(system, upstream, process, point, action):
    """Upload, validation, dispatch, settling, publishing and sweeping are each cut once."""
    check(system, upstream, process, f"{point}={action}", dies=action == "crash")


@pytest.mark.parametrize("action", ["crash", "error"])
@pytest.mark.parametrize("point", [*OF_APPENDS, "blob.renamed", "claim.read", "publish.rows"])
def test_each_request_that_is_added_is_answered_once(system, upstream, point, action):
    """A batch that takes requests while it runs: adding, sending and joining them are each cut once."""
    process = OF_APPENDS.get(point, "gateway" if point == "blob.renamed" else "dispatcher")
    cut, dies = f"{point}={action}", action == "crash"
    check(system, upstream, process, cut, dies=dies, submit=add_in_three_calls)


def add_in_three_calls(system):
    """Whoever sends again what had no answer adds it once."""
    post = system.client.post
    batch = post("/batches", body={"open": True}, cast_to=object)
    path = f"/batches/{batch['id']}"
    lines = [json.loads(line) for line in requests(LINES).splitlines()]
    for start in range(0, LINES, LINES // 3):
        some = {"requests": lines[start : start + LINES // 3]}
        post(f"{path}/requests", body=some, cast_to=object)
    post(f"{path}/finalize", cast_to=object)
    return system.client.batches.retrieve(batch["id"])


@pytest.mark.parametrize("action", ["crash", "error"])
def test_who_starts_first_migrates(upstream, tmp_path, action):
    """A migration that is cut leaves nothing behind, or all of it."""
    system = System(tmp_path, upstream.url, **SETTINGS)
    try:
        check(system, upstream, "gateway", f"migrate.statement={action}", dies=action == "crash")
    finally:
        system.end()


def test_a_torn_segment_does_not_exist(system, upstream):
    """Half of a group of results is on the disk and the process is gone."""
    check(system, upstream, "dispatcher", "segment.append=torn", dies=True)


@pytest.mark.parametrize("point", ["segment.appended", "settle.rows", "send.answered"])
def test_a_later_pass_may_be_the_one(system, upstream, point):
    """Part of the batch is settled already."""
    cut = f"{point}=crash@3"
    check(system, upstream, "dispatcher", cut, dies=True, steps=(40, 80, LINES))


def test_slices_whose_bodies_cannot_be_read_are_given_back(upstream, tmp_path):
    """A disk that refuses once does not keep them until their lease is over."""
    system = System(tmp_path, upstream.url, **SETTINGS | {"lease_s": 600})
    try:
        check(system, upstream, "dispatcher", "claim.read=error", dies=False)
    finally:
        system.end()


def upload_and_create(system):
    return system.submit(requests(LINES))


def check(system, upstream, process, failpoints, *, dies, steps=(LINES,), submit=upload_and_create):
    """Cut it once; the lines are answered in steps, each when those before are settled."""
    share = upstream.script = Share(0)
    upstream.seen.clear()
    other = "dispatcher" if process == "gateway" else "gateway"
    if process in system.processes:  # it was the other one before
        system.kill(process)
    system.forget_logs()
    system.start(process, failpoints=failpoints)
    with kept_running(system) as codes:
        if other not in system.processes:
            if failpoints.startswith("migrate"):
                system.until_logged("failpoint migrate")  # before the other one migrates
            system.start(other)
        system.wait_ready()
        batch = submit(system)
        for lines in steps:
            share.many = lines
            system.until(batch, lambda b, n=lines: b.request_counts.completed >= n)
        batch = system.ended(batch)
        output, errors = system.results(batch)
        system.until_logged(f"failpoint {failpoints.partition('=')[0]}")
        if dies:  # it may have been the last thing it did
            wait_until(lambda: codes)
    system.kill(process)

    assert batch.status == "completed"
    assert (len(output), errors) == (LINES, [])
    assert [line["custom_id"] for line in output] == [f"id-{i}" for i in range(LINES)]
    # without a death only the line on which the point lay may have been sent again
    assert sum(upstream.seen.values()) <= LINES + (LINES if codes else 1)
    assert (-9 in codes) is dies
