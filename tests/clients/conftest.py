"""One running service for all clients: gateway and dispatcher as processes, real nginx, a scripted vLLM.

The scripted server answers as `echoes` says, so that every line can be compared.
"""

from __future__ import annotations

import os
import subprocess
import urllib.request
from contextlib import contextmanager

import openai
import pytest
from echoes import answer
from installed import KEY, client_python, node_with_packages
from ports import free_port
from processes import System
from scripted import Scripted
from waiting import wait_until

from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx


@pytest.fixture(scope="session")
def model_server():
    """The scripted server, in a thread with a loop of its own."""
    with Scripted(answer).in_a_thread() as server:
        yield server


@pytest.fixture(scope="session")
def nginx(model_server, tmp_path_factory):
    """Real nginx before the scripted server; yields its address."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    config, log = folder / "nginx.conf", folder / "error.log"
    config.write_text(
        render_nginx(
            [f"127.0.0.1:{model_server.port}"],
            listen=f"127.0.0.1:{port}",
            run_dir=str(folder),
            error_log=str(log),
            foreground=True,
            user="root" if os.geteuid() == 0 else None,
        )
    )
    process = subprocess.Popen(nginx_argv(find_nginx(), config, error_log=log))
    url = f"http://127.0.0.1:{port}"

    def is_up():
        assert process.poll() is None, log.read_text()
        return answers(f"{url}/nginx-health")

    wait_until(is_up, saw=log.read_text)
    yield url
    process.terminate()
    process.wait(60)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def running(nginx, model_server, folder, **settings):
    """Run the gateway and the dispatcher; yield them when they are ready."""
    settings |= {"backend_urls": model_server.url, "webhook_networks": "127.0.0.0/8"}
    system = System(folder, nginx, max_in_flight=16, **settings)
    system.start("gateway", "dispatcher")
    try:
        system.wait_ready()
        yield system
    finally:
        system.end()


@pytest.fixture(scope="session")
def service(nginx, model_server, tmp_path_factory):
    """The gateway and the dispatcher, without a key."""
    with running(nginx, model_server, tmp_path_factory.mktemp("service")) as system:
        yield system


@pytest.fixture(scope="session")
def locked(nginx, model_server, tmp_path_factory):
    """The same with a key."""
    with running(nginx, model_server, tmp_path_factory.mktemp("locked"), api_key=KEY) as system:
        yield system


@pytest.fixture
def client(service):
    """The synchronous client with its default retries."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="unused") as made:
        yield made


@pytest.fixture
async def aclient(service):
    """The asynchronous client with its default retries."""
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="unused") as made:
        yield made


@pytest.fixture(scope="session")
def outside():
    """The interpreter of the environment that other clients live in."""
    return client_python()


@pytest.fixture(scope="session")
def node(outside):
    """The node program, with the openai package of npm beside the tests."""
    return node_with_packages(outside)
