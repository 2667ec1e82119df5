"""A gateway in a process of its own, attacked by one client while another asks for /health all the time.

What is measured is the work of the event loop before each answer: it does not depend on what else the
machine does, as time does.
"""

from __future__ import annotations

import http.client
import itertools
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
from ports import free_port
from waiting import wait_until

PATIENCE_S = 120


class Target:
    """The gateway that is attacked."""

    def __init__(self, port, process):
        self.port = port
        self.process = psutil.Process(process.pid)

    def resident_bytes(self):
        return self.process.memory_info().rss

    def busy_s(self):
        """Return how long the thread of the event loop was on a processor since it began."""
        (loop,) = (t for t in self.process.threads() if t.id == self.process.pid)
        return loop.user_time + loop.system_time

    def asks_health(self, connection):
        """Ask once; return what the event loop worked before it answered, and how long that took."""
        busy_s, began = self.busy_s(), time.monotonic()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return self.busy_s() - busy_s, time.monotonic() - began

    @contextmanager
    def health(self):
        """Ask on one connection until the body ends; yield what `asks_health` returns."""
        waits, failures, is_over = [], [], threading.Event()

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            try:
                while not is_over.is_set():
                    waits.append(self.asks_health(connection))
            except (OSError, http.client.HTTPException, AssertionError) as exc:
                failures.append(exc)
            finally:
                connection.close()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield waits
        finally:
            is_over.set()
            thread.join()
        assert not failures, failures

    def sends(self, head, pieces):
        """Send a request, piece by piece until it is answered; return status, answer and bytes sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            sent = 0
            for piece in itertools.chain([head], pieces):
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(piece)
                sent += len(piece)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode(), sent


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    """The gateway that all attacks share."""
    folder, port = tmp_path_factory.mktemp("attacked"), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BATCHLINE_")}
    environment |= {
        "BATCHLINE_DATA_DIR": str(folder / "data"),
        "BATCHLINE_PORT": str(port),
        "BATCHLINE_UPSTREAM_URL": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "batchline.cli.main", "gateway"]
    with (folder / "gateway.log").open("wb") as log:
        running = subprocess.Popen(command, env=environment, stderr=log)
    found = Target(port, running)
    try:
        _wait_for(found, running, folder / "gateway.log")
        yield found
        told = (folder / "gateway.log").read_text()
        assert "Traceback" not in told, told
        assert "Warning" not in told, told
    finally:
        running.terminate()
        running.wait(PATIENCE_S)


def _wait_for(target, running, log):
    def is_listening():
        assert running.poll() is None, log.read_text()
        with socket.create_connection(("127.0.0.1", target.port)):
            return True

    wait_until(is_listening, within_s=PATIENCE_S, not_yet=OSError, saw=log.read_text)
