"""Requests that are refused, as fast as they come: the log stays small, and everybody else is answered."""

from __future__ import annotations

import http.client
import re
import statistics
import subprocess
import sys
import time

import psutil
import pytest
from processes import System
from prometheus_page import total
from waiting import wait_until

from batchline.serving.request_log import LINE_BYTES, LINES_A_SECOND

FLOOD_S = 2
LEAST = 200
"""So many at least, however long that takes on a crowded machine: more than may be logged."""
SLACK_LINES = (
    30  # what a process says of itself meanwhile: what it waits for, how many lines are missing
)
ATTACK = """
import socket, sys, time

def anew(port, sent):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(sent)
        s.recv(400)

def kept(port, sent, connections={}):
    s = connections.get(port) or connections.setdefault(port, socket.create_connection(("127.0.0.1", port)))
    s.sendall(sent * 20)
    got = 0
    while got < 20:
        came = s.recv(65536)
        assert came, "the connection was closed"
        got += came.count(b"HTTP/1.1 ")

port, seconds, how, least = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
sent = sys.stdin.buffer.read()
send = {"anew": anew, "kept": kept}[how]
count, began = 0, time.monotonic()
while time.monotonic() - began < seconds or count < least:
    send(port, sent)
    count += 1 if how == "anew" else 20
print(count)
"""


def request(target="/v1/files", host="localhost", method="GET", head=b""):
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + head + b"\r\n"


FLOODS = {
    "a method of 8 KB": ("anew", b"A" * 8000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a header of 8 KB": ("anew", request(head=b"X: " + b"a" * 8400 + b"\r\n")),
    "control characters": (
        "anew",
        b"GET /\x1b[2J\x07"
        + b"\x01" * 7000
        + b"\r ERROR gateway: forged HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
    "unknown hosts": ("kept", request(host="e" * 3000 + ".test")),
    "a whole URL of another host": ("kept", request(f"http://evil.test/{'a' * 3000}")),
    "foreign pages": (
        "kept",
        request(method="POST", head=b"Origin: https://" + b"e" * 3000 + b".test\r\n"),
    ),
    "no model server": (
        "kept",
        request("/v1/embeddings?" + "a" * 3000, method="POST", head=b"Content-Length: 2\r\n")
        + b"{}",
    ),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """Both processes; their model server does not exist."""
    system = System(tmp_path_factory.mktemp("flooded"), "http://127.0.0.1:9")
    try:
        system.start("gateway", "dispatcher")
        for port in (system.port, system.ops_port):
            until_answering(port)
        yield system
    finally:
        system.end()


def until_answering(port):
    return wait_until(lambda: ask(port), not_yet=OSError)


def ask(port, path="/health"):
    """Return the seconds that one answer took, and its text."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return time.monotonic() - began, text


def health_ms(port, seconds):
    """Ask for /health over and over; return the median in milliseconds: the longest are the machine's."""
    took, began = [], time.monotonic()

    def is_over():
        took.append(ask(port)[0] * 1000)
        return time.monotonic() - began > seconds

    wait_until(is_over, every_s=0.005)
    return statistics.median(took)


def flood(port, how, sent):
    process = subprocess.Popen(
        [sys.executable, "-c", ATTACK, str(port), str(FLOOD_S), how, str(LEAST)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdin.write(sent)
    process.stdin.close()
    return process


def unlogged(port):
    return total(ask(port, "/metrics")[1], "batchline_unlogged_requests_total")


def withstands(system, name, port, how, sent):
    """Let the flood come; hold the log, the answers to others and the memory against their bounds."""
    log, process = system.folder / f"{name}.log", psutil.Process(system.processes[name].pid)
    quiet_ms = health_ms(port, 0.5)
    logged, resident = log.stat().st_size, process.memory_info().rss
    unlogged_before = unlogged(port)

    with flood(port, how, sent) as attacker:
        began = time.monotonic()
        busy_ms = health_ms(port, FLOOD_S)
        count = int(attacker.stdout.read() or 0)
        lasted_s = time.monotonic() - began

    lines = log.read_bytes()[logged:].splitlines(keepends=True)
    grown = process.memory_info().rss - resident
    print(
        f"{count} requests, {len(lines)} lines, median {quiet_ms:.1f} -> {busy_ms:.1f} ms, {grown} bytes"
    )
    assert attacker.returncode == 0
    assert len(lines) <= LINES_A_SECOND * (lasted_s + 2) + SLACK_LINES
    assert all(
        len(line) <= LINE_BYTES for line in lines if b"refused" in line or b"request" in line
    )
    assert all(re.fullmatch(rb"[ -~]*\n", line) for line in lines)
    assert sum(map(len, lines)) < 50_000
    assert unlogged(port) - unlogged_before > count / 2 - LINES_A_SECOND * (lasted_s + 2)
    # 100 ms on two cores; where others use these too, ten times what an answer took without the flood.
    assert busy_ms < max(100, 10 * quiet_ms)
    assert grown < 50_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("how", "sent"), FLOODS.values(), ids=FLOODS)
def test_the_gateway_withstands_a_flood_of(system, how, sent):
    """No key is needed for these, so anybody can send them."""
    withstands(system, "gateway", system.port, how, sent)


@pytest.mark.slow
@pytest.mark.parametrize("flooding", ["control characters", "unknown hosts"])
def test_the_dispatcher_withstands_a_flood_of(system, flooding):
    """Its port is for operators, in a network that may hold others."""
    withstands(system, "dispatcher", system.ops_port, *FLOODS[flooding])
