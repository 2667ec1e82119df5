"""A real fleet for the end-to-end tests: `batchline up` with two vLLM CPU servers behind real nginx."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import openai
import psutil
import pytest
from living import is_alive, words_of
from ports import free_port, reserve
from prometheus_page import total
from waiting import wait_until

from batchline.errors import BatchlineError
from batchline.fleet.cpu import install_cpu_build
from batchline.settings import Settings

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"
MARKER = "BATCHLINE_TEST_FLEET"
"""Every process of a fleet inherits it, whatever it calls itself: so nothing can hide."""

_PATIENCE_S = 900  # a server loads in 45 s on a quiet machine, in four minutes on a crowded one
_HANG_AFTER_S = 25  # an engine's step takes below a second, on a crowded machine some
_TRIES = 5
_TERMINAL = {"completed", "failed", "expired", "cancelled"}


T = TypeVar("T")


class Fleet:
    """One run of `batchline up`: its addresses, its processes, and a stock client."""

    model = MODEL

    def __init__(self, folder: Path, *options: str, servers: int = 2) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        ports = [free_port() for _ in range(4)]
        self.port, self.nginx_port, self.dispatcher_port, deliverer_port = ports
        self.backend_ports = free_run_of_ports(servers)
        self.url = f"http://127.0.0.1:{self.port}"
        self._dispatcher_metrics = f"http://127.0.0.1:{self.dispatcher_port}/metrics"
        self.nginx_url = f"http://127.0.0.1:{self.nginx_port}"
        self.backend_urls = [f"http://127.0.0.1:{port}" for port in self.backend_ports]
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=8)
        self.out = folder / "up.out"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                self._argv(servers, options),
                env=os.environ
                | {
                    MARKER: self.mark,
                    "BATCHLINE_DISPATCHER_PORT": str(self.dispatcher_port),
                    "BATCHLINE_DELIVERER_PORT": str(deliverer_port),
                    "BATCHLINE_HANG_AFTER_S": str(_HANG_AFTER_S),
                },
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def _argv(self, servers: int, options: tuple[str, ...]) -> list[str]:
        return [
            *(sys.executable, "-m", "batchline.cli.main", "up", "--cpu", str(servers)),
            *("--data", str(self.folder / "data")),
            *("--port", str(self.port)),
            *("--nginx-port", str(self.nginx_port)),
            *("--first-backend-port", str(self.backend_ports[0])),
            *("--vllm-env", MARKER),  # model servers inherit little
            *options,
        ]

    def wait_for(self, condition, *, what: str, within_s: float = _PATIENCE_S) -> None:
        """Wait until `condition()` is true, while `up` runs; bounded."""

        def is_so():
            assert self.process.poll() is None, f"up ended: {self.story()}"
            return condition()

        wait_until(is_so, within_s=within_s, every_s=0.2, saw=lambda: f"no {what}: {self.story()}")

    def wait_ready(self) -> None:
        """Wait until every model server and the API answer."""
        for url in (*self.backend_urls, self.nginx_url, self.url):
            self.wait_for(lambda url=url: is_up(f"{url}/health"), what=url)
        self.wait_for(lambda: is_up(f"{self.url}/ready"), what="/ready")

    def story(self) -> str:
        """Everything that was printed and logged, for the message of a failed test."""
        logs = sorted((self.folder / "data" / "logs").glob("*.log"))
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in (self.out, *logs)
        )

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started for this fleet, `up` itself included."""
        return [p for p in psutil.process_iter() if self.mark in marker_of(p) and is_alive(p)]

    def server_process(self, number: int) -> psutil.Process:
        """The API server process of one vLLM server."""
        port = str(self.backend_ports[number])
        (found,) = [
            process
            for process in self.processes()
            if {"vllm.entrypoints.openai.api_server", port} <= set(words_of(process))
        ]
        return found

    def engine_process(self, number: int) -> psutil.Process:
        """The process in which one server's engine works."""
        server = self.server_process(number)
        children = server.children(recursive=True)
        return next(p for p in children if any("EngineCore" in word for word in words_of(p)))

    def engines(self) -> list[psutil.Process]:
        """The engine processes, from their start on: they hold the memory."""
        return [
            process
            for process in self.processes()
            if any("spawn_main" in word or "EngineCore" in word for word in words_of(process))
        ]

    def nginx_process(self) -> psutil.Process:
        """The nginx that `up` watches over (the master, whose children do the work)."""
        # found by its parent: nginx writes its title over its environment, the marker with it
        children = psutil.Process(self.process.pid).children()
        (master,) = [p for p in children if p.name() == "nginx"]
        return master

    def served(self) -> list[float]:
        """How many requests each server has answered since its own start."""
        return [sum_of(f"{url}/metrics", "vllm:request_success_total") for url in self.backend_urls]

    def works_on(self, number: int) -> float:
        """How many requests this server's engine has in hand."""
        return sum_of(f"{self.backend_urls[number]}/metrics", "vllm:num_requests_running")

    def hangs(self, number: int) -> float:
        """How often the dispatcher took this server out because it hung."""
        name = f"127.0.0.1:{self.backend_ports[number]}"
        return sum_of(self._dispatcher_metrics, "batchline_backend_hangs_total", backend=name)

    def shared(self, work: Callable[[], T]) -> tuple[T, list[float]]:
        """Return what the work returned, and how many requests of it each server answered.

        It begins when each gets its full share, and is done again where one seemed to hang or to be gone
        meanwhile: on a crowded machine one may.
        """
        for _ in range(_TRIES):
            self.wait_for(self._all_get_lines, what="servers that get their full share")
            hangs, before = self._all_hangs(), self.served()
            done = work()
            shares = [now - then for now, then in zip(self.served(), before, strict=True)]
            if self._all_hangs() == hangs and self._all_get_lines():
                break
        return done, shares

    def _all_get_lines(self) -> bool:
        return all(self.gets_lines(number) for number in range(len(self.backend_ports)))

    def _all_hangs(self) -> list[float]:
        return [self.hangs(number) for number in range(len(self.backend_ports))]

    def gets_lines(self, number: int) -> bool:
        """Whether the dispatcher gives this server its full share."""
        name = f"127.0.0.1:{self.backend_ports[number]}"
        circuit = "batchline_backend_circuit"
        return sum_of(self._dispatcher_metrics, circuit, backend=name, state="closed") == 1

    def submit(self, prompts: dict[str, str], *, max_tokens: int = 8):
        """Upload a chat batch, custom_id → prompt, and create it."""
        lines = [
            {
                "custom_id": custom_id,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_tokens": max_tokens,
                    "temperature": 0,
                },
            }
            for custom_id, prompt in prompts.items()
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = self.client.files.create(file=("batch.jsonl", content), purpose="batch")
        return self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

    def has_ended(self, batch) -> bool:
        """Whether the batch has ended by now."""
        return self.client.batches.retrieve(batch.id).status in _TERMINAL

    def finish(self, batch, *, within_s: float = _PATIENCE_S):
        """Poll until the batch has ended; return its last state."""
        states = [batch]

        def ended() -> bool:
            states.append(self.client.batches.retrieve(batch.id))
            return states[-1].status in _TERMINAL

        self.wait_for(ended, what=f"the end of {batch.id}", within_s=within_s)
        return states[-1]

    def results(self, batch) -> list[dict]:
        """Every line of the output file."""
        text = self.client.files.content(batch.output_file_id).text
        return [json.loads(line) for line in text.splitlines()]

    def stop(self, number: int = signal.SIGINT) -> int:
        """Signal `up` and wait for its end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(120)

    def kill_everything(self) -> list[str]:
        """Kill what is left; return what that was."""
        left = self.processes()
        names = [" ".join(words_of(process)) for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=30)
        return names


@pytest.fixture(scope="session")
def cpu_build():
    """Install the CPU build of vLLM, or skip loudly where that cannot be done."""
    try:
        return install_cpu_build(Settings().fleet_cache_dir, say=print)
    except BatchlineError as exc:
        pytest.skip(f"THE END-TO-END TESTS DID NOT RUN, no real vLLM was tried: {exc}")


@pytest.fixture(scope="module")
def fleet(cpu_build, tmp_path_factory):
    """Two real vLLM servers, nginx, gateway and dispatcher, ready.

    At the end one server loads anew; Ctrl-C then leaves no process.
    """
    demo = ("--demo", str(ROOT / "examples" / "quickstart.jsonl"))
    running = Fleet(tmp_path_factory.mktemp("fleet"), *demo)
    try:
        running.wait_ready()
        yield running
        before = set(running.engines())
        running.engine_process(0).kill()
        running.wait_for(lambda: set(running.engines()) - before, what="a new engine")
        code = running.stop()
    finally:
        left = running.kill_everything()
    assert (code, left) == (0, [])


@pytest.fixture
def small_fleet(cpu_build, tmp_path):
    """A fleet of one server that the test itself ends; not waited for."""
    running = Fleet(tmp_path, servers=1)
    yield running
    running.kill_everything()
    running.process.wait(60)


@pytest.fixture
def embedding_fleet(cpu_build, tmp_path):
    """A fleet of one real vLLM server that embeds, ready."""
    running = Fleet(
        tmp_path, "--vllm-arg=--runner=pooling", "--vllm-arg=--convert=embed", servers=1
    )
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()
        running.kill_everything()


def free_run_of_ports(count: int) -> list[int]:
    """Return neighbouring ports, all free: a fleet listens there only once its servers have loaded."""
    while True:
        first = free_port()
        ports = range(first, first + count)
        if all(reserve(port) for port in ports[1:]):
            return list(ports)


def is_up(url: str) -> bool:
    """Whether a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def sum_of(url: str, metric: str, **labels: str) -> float:
    """Return a metric's value, summed over its other labels."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return total(answer.read().decode(), metric, **labels)


def marker_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARKER, "")
    except (psutil.Error, OSError):
        return ""
