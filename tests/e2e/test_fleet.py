"""The whole of batchline on real vLLM and real nginx; and the README's snippets, verbatim.

One file, so that one worker of a parallel run has the fleet.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from by_path import routed
from ports import free_port
from waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]  # the first test may install for minutes

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart.jsonl"


def questions(count: int, start: int = 0) -> dict[str, str]:
    return {f"q{n}": f"What is {n} plus {n}?" for n in range(start, start + count)}


def many_lines(count):
    """The lines of the quickstart again and again, with ids of their own and short answers."""
    lines = [json.loads(line) for line in QUICKSTART.read_text().splitlines()]
    made = [lines[n % len(lines)] | {"custom_id": f"line-{n}"} for n in range(count)]
    for line in made:
        line["body"]["max_tokens"] = 16
    return "".join(json.dumps(line) + "\n" for line in made)


def test_the_demonstration_prints_sensible_answers(fleet):
    """`batchline up --demo FILE` ends with each answer below its question, and stays up."""
    fleet.wait_for(lambda: "stays up" in fleet.out.read_text(), what="the end of the demonstration")

    text = fleet.out.read_text()
    asked = [json.loads(line)["custom_id"] for line in QUICKSTART.read_text().splitlines()]
    assert [custom_id for custom_id in asked if custom_id not in text] == []
    assert "Paris" in text
    assert "Tokyo" in text
    assert fleet.url in text


def test_the_readme_snippets_are_answered_by_both_backends(fleet, tmp_path):
    """Upload, create, poll, download, stream a chat; of 60 lines each server answers at least 30 %."""
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = "".join(snippets)  # the second one goes on with the client of the first
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("http://localhost:5000", fleet.url))
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "quickstart.jsonl").write_text(many_lines(60))

    def run():
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=1500, cwd=tmp_path
        )

    done, answered = fleet.shared(run)

    assert done.returncode == 0, done.stderr + fleet.story()
    assert done.stdout.count('"custom_id":') == 60
    assert sum(answered) >= 60
    assert min(answered) >= 18, answered


def test_engine_api_server_and_nginx_die_in_turn_and_each_line_is_answered(fleet):
    """Kill -9 of an engine, of the other server's API process, of nginx, all during one batch.

    For a while no server is alive: the batch waits. Each is started again and serves.
    """
    fleet.wait_ready()
    victims = {
        10: lambda: fleet.engine_process(0),
        30: lambda: fleet.server_process(1),
        50: fleet.nginx_process,
    }
    asked = questions(100, start=2000)
    batch = fleet.submit(asked, max_tokens=16)

    killed = []
    for done, victim in victims.items():
        fleet.wait_for(
            lambda done=done: (
                fleet.client.batches.retrieve(batch.id).request_counts.completed >= done
            ),
            what=f"{done} answers",
        )
        killed.append(victim())
        killed[-1].kill()
    before_the_end = fleet.client.batches.retrieve(batch.id)
    batch = fleet.finish(batch)

    assert before_the_end.status == "in_progress", "the last kill came too late"
    assert (batch.status, batch.error_file_id) == ("completed", None)
    results = fleet.results(batch)
    assert [line["custom_id"] for line in results] == list(asked)
    assert all(line["response"]["body"]["choices"][0]["message"]["content"] for line in results)
    assert not any(process.is_running() for process in killed)

    fleet.wait_ready()
    assert fleet.finish(fleet.submit(questions(40, start=1000))).request_counts.completed == 40
    assert min(fleet.served()) > 0, "a new process has answered nothing"


def test_lines_of_an_engine_that_stands_still_go_to_the_other_server(fleet):
    """SIGSTOP of a real engine: its API server answers on, only its figures stand still.

    The batch ends while the engine stands; it gets lines again once it moves.
    """
    fleet.wait_ready()
    asked = questions(80, start=4000)
    batches = [fleet.submit(asked)]

    def has_much_to_do():
        if fleet.has_ended(
            batches[-1]
        ):  # on a busy machine the engine may have seemed to hang before
            batches.append(fleet.submit(asked))
        return fleet.gets_lines(0) and fleet.works_on(0) >= 8

    fleet.wait_for(has_much_to_do, what="an engine that has much to do")
    engine = fleet.engine_process(0)
    hangs_before = fleet.hangs(0)

    engine.suspend()
    try:
        batch = fleet.finish(batches[-1])
        hangs, state = fleet.hangs(0), engine.status()
    finally:
        engine.resume()

    assert state == psutil.STATUS_STOPPED, "the engine worked on, so nothing is proved"
    assert (batch.status, batch.error_file_id) == ("completed", None)
    assert [line["custom_id"] for line in fleet.results(batch)] == list(asked)
    assert hangs > hangs_before
    fleet.wait_for(
        lambda: fleet.finish(fleet.submit(questions(4))) and fleet.gets_lines(0),
        what="an answer of the server that hung",  # nothing else closes its circuit
    )


def call(url, *requests):
    """Make a call of many requests; return the responses."""
    answer = httpx.post(f"{url}/batch", json={"requests": requests}, timeout=900)
    assert answer.status_code == 200, answer.text
    return answer.json()["responses"]


SHORT = {"url": "/v1/chat/completions", "body": {"prompt": "Hello, world!", "max_tokens": 8}}


@pytest.mark.spec("beyond-sync", "beyond-sync-forms", "beyond-sync-short", "beyond-sync-faults")
def test_a_call_of_many_requests_is_answered_in_their_order(fleet):
    """Short forms, in both forms of a request, the served model filled in; what no server does is one error."""
    fleet.wait_ready()
    many = [SHORT | {"custom_id": f"c{n}"} for n in range(20)]

    found = call(fleet.url, SHORT, json.dumps(SHORT), {"body": {"text": ["a"]}}, {"body": 7}, *many)

    first, second = found[0], json.loads(found[1])
    for response in (first, second, *found[4:]):
        assert response["error"] is None
        assert response["response"]["status_code"] == 200
        assert response["response"]["body"]["choices"][0]["message"]["content"]
    assert found[2]["response"]["status_code"] >= 400, "this server embeds: nothing is proved"
    assert found[2]["response"]["body"]["error"]["message"]
    assert found[3]["error"]["code"] == "invalid_type"
    assert [one["custom_id"] for one in found[4:]] == [f"c{n}" for n in range(20)]


@pytest.mark.spec("beyond-sync", "beyond-sync-short")
def test_chats_and_embeddings_of_one_call_are_answered(fleet, embedding_fleet, tmp_path):
    """By two fleets of real servers, behind a router."""
    fleet.wait_ready()
    url = f"http://127.0.0.1:{free_port()}"
    words = ["a", "a longer text"]
    lines = [
        SHORT | {"body": SHORT["body"] | {"model": fleet.model}},
        {"url": "/v1/embeddings", "body": {"text": words, "model": fleet.model}},
    ]
    with (
        routed(chats=fleet.nginx_url, embeddings=embedding_fleet.nginx_url) as router,
        gateway(url, router, tmp_path / "gateway"),
    ):
        chat, embeddings = call(url, lines[0], json.dumps(lines[1]))

    data = json.loads(embeddings)["response"]["body"]["data"]
    assert chat["response"]["body"]["choices"][0]["message"]["content"]
    assert [one["index"] for one in data] == [0, 1]
    assert len(data[0]["embedding"]) == len(data[1]["embedding"]) > 100
    assert data[0]["embedding"] != data[1]["embedding"]


@contextmanager
def gateway(url, upstream, folder):
    """Run a gateway of its own before an upstream."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchline.cli.main", "gateway"],
        env=os.environ
        | {
            "BATCHLINE_DATA_DIR": str(folder),
            "BATCHLINE_PORT": url.rpartition(":")[2],
            "BATCHLINE_UPSTREAM_URL": upstream,
        },
        cwd=ROOT,
    )
    try:
        health = f"{url}/health"
        wait_until(lambda: httpx.get(health).is_success, not_yet=(httpx.TransportError,))
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_nothing_survives_a_kill_of_up_while_a_server_loads(small_fleet):
    """Kill -9 of `up` itself: no process of the fleet is left. Ctrl-C is the end of `fleet`."""
    small_fleet.wait_for(small_fleet.engines, what="the engine process")

    code = small_fleet.stop(signal.SIGKILL)

    assert code == -signal.SIGKILL
    _, left = psutil.wait_procs(small_fleet.processes(), timeout=60)
    assert [process for process in left if process.is_running()] == []
    assert small_fleet.processes() == []


def test_ports_in_use_are_told_before_anything_starts(fleet):
    """A second `up` on the same ports says which, and how to move."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "batchline.cli.main", "up", "--cpu", "1"),
            *("--port", str(fleet.port)),
            *("--nginx-port", str(fleet.nginx_port)),
            *("--first-backend-port", str(fleet.backend_ports[0])),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=fleet.folder,
    )

    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert all(str(port) in said for port in (fleet.port, fleet.nginx_port, fleet.backend_ports[0]))
    assert "--nginx-port" in said
