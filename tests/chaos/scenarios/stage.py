"""The stage of a scenario: model servers, real nginx, gateway and dispatcher, each a process.

Everything can be killed and started again on its old port and data directory; what the model servers
wrote down about their requests is the witness.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ports import free_port
from processes import System
from real_nginx import nginx_command
from waiting import wait_until

SERVER = Path(__file__).with_name("model_server.py")


def until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait for the condition. Raises AssertionError, saying what never came."""
    wait_until(condition, within_s=within_s, saw=lambda: f"{what} did not come")


def notices(system: System) -> str:
    """Return the texts of the dashboard's notices."""
    status, text = system.get("/ui/part/notices")
    return " ".join(re.findall(r'data-k="n[^>]*>([^<]*)<', text)) if status == 200 else ""


def lines(count: int, *, padding_bytes: int = 0) -> bytes:
    """Make the requests `id-0 …`, each tagged with its custom_id."""
    padding = "x" * padding_bytes
    return b"".join(
        json.dumps(
            {
                "custom_id": f"id-{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "m", "messages": [], "tag": f"id-{n}", "padding": padding},
            }
        ).encode()
        + b"\n"
        for n in range(count)
    )


class Process:
    """One program with its children: started, killed as a whole, started again."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._argv = argv
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                self._argv, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill -9 the process and its children; wait until they are gone."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()


class ModelServers:
    """Some model servers and their logs. With a keeper they come back a second after they died."""

    def __init__(
        self, folder: Path, count: int, *, latency_s: float, poison: str | None = None
    ) -> None:
        self.ports = [free_port() for _ in range(count)]
        self.logs = [folder / f"requests-{n}.log" for n in range(count)]
        self.deaths = 0
        words = [str(latency_s), *([poison] if poison else [])]
        self.processes = [
            Process([sys.executable, str(SERVER), str(port), str(log), *words], folder / "servers")
            for port, log in zip(self.ports, self.logs, strict=True)
        ]

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port in self.ports]

    def start(self) -> None:
        for process in self.processes:
            process.start()
        for port in self.ports:
            until(lambda port=port: _listens(port), within_s=60, what=f"a server on {port}")

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    @contextmanager
    def kept(self, *, after_s: float = 1.0) -> Iterator[None]:
        """Start a server again some time after its death, while the body runs; count the deaths."""
        stop = threading.Event()

        def keep() -> None:
            dead_at: dict[int, float] = {}
            while not stop.wait(0.02):
                now = time.monotonic()
                for n, process in enumerate(self.processes):
                    if process.is_running:
                        continue
                    if n not in dead_at:
                        dead_at[n] = now
                        self.deaths += 1
                    elif now - dead_at[n] >= after_s:
                        process.start()
                        del dead_at[n]

        keeper = threading.Thread(target=keep)
        keeper.start()
        try:
            yield
        finally:
            stop.set()
            keeper.join()

    # -- the witness

    def events(self) -> list[tuple[float, str, str]]:
        """Return (seconds, begin or end, tag) of every request, in order of time."""
        found = []
        for log in self.logs:
            if log.exists():
                for line in log.read_text().splitlines():
                    at, event, tag = line.split(" ")
                    found.append((float(at), event, tag))
        return sorted(found)

    def sends(self) -> Counter[str]:
        """Count how often each line arrived."""
        return Counter(tag for _, event, tag in self.events() if event == "begin")

    def under_way(self) -> int:
        """Return how many requests have begun and not ended."""
        counts = Counter(event for _, event, _ in self.events())
        return counts["begin"] - counts["end"]

    def peak(self, *, since: float, until: float) -> int:
        """Return the most requests that were under way at once between two times."""
        under_way: set[str] = set()
        most = 0
        for at, event, tag in self.events():
            if at < since:
                continue
            (under_way.add if event == "begin" else under_way.discard)(tag)
            if at <= until:
                most = max(most, len(under_way))
        return most


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Stage:
    """All processes of one scenario. Opened by `staged`."""

    def __init__(
        self,
        folder: Path,
        servers: ModelServers,
        *,
        data_dir: Path | None,
        settings: dict[str, object],
    ) -> None:
        self.folder = folder
        self.servers = servers
        self.nginx_port = free_port()
        argv = nginx_command(servers.addresses, folder, self.nginx_port)
        self.nginx = Process(list(argv), folder / "nginx.out")
        self.system = System(
            folder,
            f"http://127.0.0.1:{self.nginx_port}",
            backend_urls=",".join(f"http://{a}" for a in servers.addresses),
            **({"data_dir": data_dir} if data_dir else {}),
            **settings,
        )

    def start_nginx(self) -> None:
        """Start nginx; a listening socket of the one before may take a moment to go."""

        def is_up() -> bool:
            if not self.nginx.is_running:
                self.nginx.start()
            return _listens(self.nginx_port)

        until(is_up, within_s=30, what="nginx")

    def start(self) -> None:
        self.servers.start()
        self.start_nginx()
        self.system.start("gateway", "dispatcher")
        self.system.wait_ready()

    def restart(self, name: str) -> None:
        """Start what was killed: gateway, dispatcher or nginx."""
        if name == "nginx":
            self.start_nginx()
        else:
            self.system.start(name)

    def kill(self, name: str) -> None:
        """Kill -9."""
        if name == "nginx":
            self.nginx.kill()
        else:
            self.system.kill(name)

    def stop(self) -> None:
        """Leave no process behind."""
        self.system.end()
        self.nginx.kill()
        self.servers.kill()


@contextmanager
def staged(
    folder: Path,
    *,
    servers: int = 2,
    latency_s: float = 0.05,
    poison: str | None = None,
    data_dir: Path | None = None,
    **settings: object,
) -> Iterator[Stage]:
    """Make the stage; stop all of it at the end. The caller starts it."""
    with ExitStack() as stack:
        made = ModelServers(folder, servers, latency_s=latency_s, poison=poison)
        stage = Stage(folder, made, data_dir=data_dir, settings=settings)
        stack.callback(stage.stop)
        yield stage
