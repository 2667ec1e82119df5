"""A gateway in a process of its own that every case must leave sound: the same one for all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from waiting import wait_until
from wire import (
    IDLE_S,
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    PATIENCE_S,
    STALL_S,
    Server,
    form,
    json_request,
    part,
)

from gateway.keys import Patience

LIMITS = {"MAX_FILE_BYTES": MAX_FILE_BYTES, "MAX_LINE_BYTES": MAX_LINE_BYTES}
PROCESS = """
import gateway.app
from batchline.process.service import run_service, set_up_logging
from batchline.settings import load_settings
from gateway.keys import Patience
set_up_logging()
raise SystemExit(run_service(lambda stop: gateway.app.serve(load_settings(), stop, patience={patience!r})))
"""


@contextmanager
def running_gateway(folder, *, patience=None, **given):
    """Run a gateway; its model server does not exist, so that nothing depends on one."""
    log = folder / "gateway.log"
    given = {"DATA_DIR": folder / "data", "PORT": 0, "UPSTREAM_URL": "http://127.0.0.1:9"} | given
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BATCHLINE_")}
    environment |= {f"BATCHLINE_{k}": str(v) for k, v in given.items()}
    with log.open("wb") as stderr:
        code = PROCESS.format(patience=patience)
        running = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=stderr)
    try:
        yield Server(_address(log, running), folder, log, running)
    finally:
        running.terminate()
        assert running.wait(60) == 0, "it stops as it should, after all this"


@pytest.fixture(scope="session")
def process(tmp_path_factory):
    """The gateway that all cases share."""
    with running_gateway(tmp_path_factory.mktemp("badinput"), **LIMITS) as server:
        yield server


@pytest.fixture(scope="session")
def impatient_process(tmp_path_factory):
    """Another one, that soon ends what is silent or slow: nothing else is tried on it."""
    patience = Patience(idle_s=IDLE_S, stall_s=STALL_S, slowest_bytes_s=50_000)
    folder = tmp_path_factory.mktemp("impatient")
    with running_gateway(folder, patience=patience, **LIMITS) as server:
        yield server


@pytest.fixture(scope="session")
def locked(tmp_path_factory):
    """Another one, that asks for a key."""
    with running_gateway(tmp_path_factory.mktemp("locked"), API_KEY="sesame") as server:
        yield server


def _address(log, running):
    def told():
        assert running.poll() is None, log.read_text()
        return re.search(r"listens on http://([\d.]+):(\d+)", log.read_text())

    found = wait_until(told, saw=log.read_text)
    return found[1], int(found[2])


@pytest.fixture
def server(process):
    """The gateway, looked over after the case: nothing left, nothing in the log, still answering."""
    with looked_over(process):
        yield process


@pytest.fixture
def impatient(impatient_process):
    """The impatient one, looked over after the case likewise."""
    with looked_over(impatient_process):
        yield impatient_process


@contextmanager
def looked_over(process):
    before, logged = process.kept(), len(process.log.read_bytes())
    yield
    with urllib.request.urlopen(process.url + "/health", timeout=PATIENCE_S) as answer:
        assert answer.status == 200
    process.settles_at(before)
    told = process.log.read_bytes()[logged:].decode()
    assert "Traceback" not in told, told
    assert "ERROR" not in told, told


@pytest.fixture(scope="session")
def stored(process):
    """The id of a good input file of 3 requests."""
    line = (
        '{"custom_id": "%s", "method": "POST", "url": "/v1/embeddings", '
        '"body": {"model": "m", "input": "x"}}\n'
    )
    content = "".join(line % name for name in "abc").encode()
    answer = process.ask(form(part("purpose", b"batch"), part("file", content, "a.jsonl")))
    return answer.json["id"]


@pytest.fixture(scope="session")
def created(process, stored):
    """The id of a batch that waits for a dispatcher."""
    body = {
        "input_file_id": stored,
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
    }
    return process.ask(json_request(body)).json["id"]
