"""The supervisor, with real child processes: tiny Python scripts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web
from living import is_alive
from ports import free_port
from real_nginx import nginx_command
from waiting import until

from batchline.errors import Unavailable
from batchline.fleet.programs import Program
from batchline.fleet.supervise import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    STEADY_S,
    Happened,
    Supervisor,
    backoff_s,
    count_failures,
)
from batchline.serving.identity import Part

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
WITH_HELPER = (
    "import subprocess, sys\n"
    "helper = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print('helper', helper.pid, flush=True)\n" + SERVER
)


@pytest.fixture
def make_program(tmp_path):
    """Build a Program out of a script's text."""

    def make(name: str, script: str = SERVER, **fields) -> Program:
        port = free_port()
        return Program(
            name=name,
            argv=(sys.executable, "-c", script, str(port)),
            port=port,
            health_path="/health",
            log=tmp_path / f"{name}.log",
            **fields,
        )

    return make


class Story:
    """Every event so far, and a way to wait for the next of a kind."""

    def __init__(self) -> None:
        self.events = []
        self._news = asyncio.Condition()
        self._tasks = set()

    def __call__(self, event) -> None:
        self.events.append(event)
        task = asyncio.ensure_future(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def of(self, what: Happened, name: str | None = None) -> list:
        return [e for e in self.events if e.what is what and name in {None, e.program.name}]

    async def until(self, what: Happened, count: int, name: str | None = None) -> list:
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.of(what, name)) >= count)
        return self.of(what, name)


@pytest.fixture
async def supervise():
    """Run a supervisor until the test ends."""
    running = []

    def start(*stages, backoff=lambda failures: 0.0):
        story, stop = Story(), asyncio.Event()
        supervisor = Supervisor(stages, report=story, backoff=backoff)
        task = asyncio.create_task(supervisor.run(stop))
        running.append((task, stop))
        return supervisor, story, stop, task

    yield start
    for task, stop in running:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


def test_the_delay_doubles_from_one_second_to_a_minute():
    """1, 2, 4 … 60 seconds."""
    delays = [backoff_s(failures) for failures in range(1, 9)]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (delays[0], delays[-1]) == (FIRST_DELAY_S, LONGEST_DELAY_S)
    assert backoff_s(10**6) == LONGEST_DELAY_S


@pytest.mark.parametrize(
    ("failures", "up_s", "expected"), [(0, 0.1, 1), (3, STEADY_S - 1, 4), (3, STEADY_S, 1)]
)
def test_a_steady_run_resets_the_delay(failures, up_s, expected):
    """A server that was up for a minute is not punished for old failures."""
    assert count_failures(failures, up_s=up_s) == expected


async def test_ready_means_that_the_health_path_answers(make_program, supervise):
    """`wait_ready` returns when every program serves."""
    supervisor, story, _, _ = supervise([make_program("a"), make_program("b")])

    async with asyncio.timeout(60):
        await supervisor.wait_ready()

    assert {e.program.name for e in story.of(Happened.READY)} == {"a", "b"}


OURS = """
import http.server, json, os, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = json.dumps({"service": "batchline gateway", "pid": os.getpid()}).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(told)
    def log_message(self, *args): pass
while True:
    try:
        http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    except OSError:
        threading.Event().wait(0.05)
"""


async def test_who_else_answers_on_its_port_is_not_taken_for_it(make_program, supervise):
    """Another gateway has the port: ours is ready when it answers itself."""
    asked = asyncio.Semaphore(0)

    async def say(request):
        asked.release()
        return web.json_response({"service": "batchline gateway", "pid": 1})

    program = make_program("gateway", OURS, part=Part.GATEWAY)
    app = web.Application()
    app.router.add_get("/health", say)
    stranger = web.AppRunner(app)
    await stranger.setup()
    await web.TCPSite(stranger, "127.0.0.1", program.port).start()

    _, story, *_ = supervise([program])
    async with asyncio.timeout(60):
        await asked.acquire()
        await asked.acquire()  # the first answer was judged by then
    early = story.of(Happened.READY)
    await stranger.cleanup()

    assert early == []
    assert await story.until(Happened.READY, 1)


async def test_a_child_that_dies_is_started_again(make_program, supervise):
    """Kill -9, and it comes back with another pid."""
    _, story, _, _ = supervise([make_program("a")])
    (first,) = await story.until(Happened.READY, 1)

    os.kill(first.pid, signal.SIGKILL)
    _, second = await story.until(Happened.READY, 2)

    assert story.of(Happened.DIED)[0].exit_code == -signal.SIGKILL
    assert second.pid != first.pid


async def test_what_a_dead_child_left_behind_goes_with_it(make_program, supervise):
    """VLLM's engine processes outlive a killed server and would hold its memory."""
    program = make_program("a", WITH_HELPER)
    _, story, _, _ = supervise([program])
    (first,) = await story.until(Happened.READY, 1)
    helper = psutil.Process(int(program.log.read_text().split()[1]))

    os.kill(first.pid, signal.SIGKILL)
    await story.until(Happened.STARTED, 2)

    psutil.wait_procs([helper], timeout=60)
    assert not is_alive(helper)


async def test_a_program_that_never_works_ends_the_run_with_its_last_words(make_program, supervise):
    """A wrong flag is shown to the user instead of being retried for ever."""
    _, _, _, task = supervise([make_program("a", "print('no such model'); raise SystemExit(3)")])

    async with asyncio.timeout(60):
        with pytest.RaisesGroup(
            pytest.RaisesExc(Unavailable, match="(?s)exit code 3.*no such model")
        ):
            await task


async def test_stages_stop_in_reverse_order(make_program, supervise):
    """The dispatcher drains while its model servers still live."""
    _, story, stop, task = supervise([make_program("servers")], [make_program("dispatcher")])
    await story.until(Happened.READY, 2)

    stop.set()
    async with asyncio.timeout(60):
        await task

    stopped = [e.program.name for e in story.of(Happened.STOPPED)]
    assert stopped == ["dispatcher", "servers"]


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(make_program, supervise):
    """Stopping always ends."""
    _, story, stop, task = supervise([make_program("a", STUBBORN, grace_s=0.2)])
    (ready,) = await story.until(Happened.READY, 1)

    stop.set()
    async with asyncio.timeout(60):
        await task

    assert story.of(Happened.STOPPED)[0].exit_code == -signal.SIGKILL
    assert not psutil.pid_exists(ready.pid)


async def test_a_child_that_still_loads_is_not_waited_for_as_one_that_answers(
    make_program, supervise
):
    """It owes nobody an answer; vLLM that is told to stop while it loads would hang for all of its grace."""
    loading = STUBBORN.replace(SERVER, "print('loads', flush=True)\nsignal.pause()\n")
    program = make_program("a", loading, grace_s=3600)
    _, story, stop, task = supervise([program])
    await until(lambda: program.log.exists() and "loads" in program.log.read_text())

    stop.set()
    async with asyncio.timeout(60):
        await task

    assert story.of(Happened.STOPPED)[0].exit_code == -signal.SIGKILL


async def test_children_get_their_environment_and_no_more_than_they_may_inherit(
    make_program, supervise, monkeypatch
):
    """`env` is added to what `inherits` names, by whole names and by their beginnings."""
    monkeypatch.setenv("OUR_KEY", "ours")
    monkeypatch.setenv("HF_TOKEN", "hf")
    program = make_program(
        "a",
        "import os; print(*map(os.environ.get, ['CARDS', 'HF_TOKEN', 'OUR_KEY']), flush=True)\n"
        + SERVER,
        env={"CARDS": "0,1"},
        inherits=("PATH", "PYTHONPATH", "HF_*"),
    )
    _, story, _, _ = supervise([program])

    await story.until(Happened.READY, 1)

    assert program.log.read_text().split() == ["0,1", "hf", "None"]


async def test_children_survive_ctrl_c_meant_for_their_parent(make_program, supervise):
    """They are in sessions of their own; the supervisor decides in which order they end."""
    _, story, _, _ = supervise([make_program("a")])
    (ready,) = await story.until(Happened.READY, 1)

    assert os.getsid(ready.pid) == ready.pid


@pytest.mark.parametrize("script", [SERVER, WITH_HELPER], ids=["server", "server-with-helper"])
def test_no_child_survives_a_killed_supervisor(tmp_path, script):
    """Kill -9 of the parent: the kernel and the leash end the rest."""
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, script, str(port), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout.readline() == "ready\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert family

    parent.kill()
    parent.wait()
    parent.stdout.close()

    psutil.wait_procs(family, timeout=30)
    assert [process for process in family if is_alive(process)] == []


async def test_nginx_finishes_what_passes_through_it_when_its_supervisor_is_killed(
    tmp_path, backends
):
    """Kill -9 of the parent: a request that its server still works on is answered whole."""
    server, port, release = backends[0], free_port(), asyncio.Event()

    async def answer_late(request, body):
        await release.wait()
        return web.json_response({"echo": len(body)})

    server.script = answer_late
    argv = nginx_command([server.address], tmp_path, port)
    parent = subprocess.Popen(
        [sys.executable, "-c", NGINX_PARENT, str(port), str(tmp_path / "nginx.log"), *argv],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert await asyncio.to_thread(parent.stdout.readline) == "ready\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    async with aiohttp.ClientSession() as client, asyncio.timeout(60):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        asked = asyncio.create_task(client.post(url, data=b"{}"))
        await server.arrived.wait()

        parent.kill()
        await asyncio.to_thread(parent.wait)
        parent.stdout.close()
        await _until_refused(port)
        release.set()

        answer = await asked
        assert (answer.status, await answer.json()) == (200, {"echo": 2})
    await asyncio.to_thread(psutil.wait_procs, family, timeout=30)
    assert [process for process in family if is_alive(process)] == []
    assert len(server.bodies) == 1


async def _until_refused(port):
    """Wait until nginx has had its signal: it listens no more."""

    async def is_refused():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await until(is_refused)


NGINX_PARENT = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from batchline.fleet.programs import plan_nginx
    from batchline.fleet.supervise import Supervisor

    async def main():
        port, log, *argv = sys.argv[1:]
        supervisor = Supervisor([[plan_nginx(tuple(argv), port=int(port), log=Path(log))]])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervisor.run(asyncio.Event()))
            await supervisor.wait_ready()
            print("ready", flush=True)

    asyncio.run(main())
""")

PARENT = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from batchline.fleet.programs import Program
    from batchline.fleet.supervise import Supervisor

    async def main():
        script, port, folder = sys.argv[1:]
        supervisor = Supervisor([[Program(
            name="a", argv=(sys.executable, "-c", script, port), port=int(port),
            health_path="/health", log=Path(folder) / "a.log",
        )]])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervisor.run(asyncio.Event()))
            await supervisor.wait_ready()
            print("ready", flush=True)

    asyncio.run(main())
""")
