"""How soon a killed dispatcher's successor goes on with a huge batch, and what that costs.

Run as `python -m benchmarks.recovery [--lines 1000000] [--kilobytes 1]`. Makes a data directory with half
of the batch done, lets a real dispatcher work on it against an upstream that takes 0.2 s, kills it with
SIGKILL, starts another and prints the seconds from its start to its first request, the bytes it had read
by then, and how many lines were sent again. Then the same for the gateway: the first answers about the
batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .half_done import HalfDone, make_half_done
from .instant import Instant
from .throughput import free_port

_IN_FLIGHT = 256
_ANSWER_S = 0.2
_WAIT_S = 120.0
_SETTLE_LINES = 5000


class Witness(threading.Thread):
    """An upstream that answers after a while and remembers which lines came, and when the first did."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port = free_port()
        self.sent: Counter[str] = Counter()
        self.first_at: float | None = None
        self._ready = threading.Event()
        self.start()
        self._ready.wait(10)

    def run(self) -> None:
        """Serve for ever."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Slow(self), "127.0.0.1", self.port, backlog=4096)
        self._ready.set()
        await server.serve_forever()

    def saw(self, line: str) -> None:
        """Note one request."""
        self.first_at = self.first_at or time.monotonic()
        self.sent[line] += 1


class _Slow(Instant):
    """Answers POSTs late, all else at once."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def answer(self, head: bytes) -> None:
        """Answer one request."""
        if not head.startswith(b"post"):
            super().answer(head)
            return
        at = head.index(b"x-request-id:") + len(b"x-request-id:")
        self._witness.saw(head[at:].split(b"\r\n", 1)[0].strip().decode())
        asyncio.get_running_loop().call_later(_ANSWER_S, super().answer, head)


@contextmanager
def process(name: str, folder: Path, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run gateway or dispatcher on the data directory; SIGKILL at the end."""
    environment = os.environ | {
        "BATCHLINE_DATA_DIR": str(folder / "data"),
        "BATCHLINE_LOG_LEVEL": "WARNING",
        "BATCHLINE_MIN_FREE_BYTES": "0",
        **{f"BATCHLINE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    argv = [sys.executable, "-m", "batchline.cli.main", name]
    child = subprocess.Popen(argv, env=environment)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)


def read_bytes(child: subprocess.Popen[bytes]) -> int:
    """Return how many bytes a process has read so far, cached or not, from files and sockets."""
    text = Path(f"/proc/{child.pid}/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def until(condition: Callable[[], object], *, within_s: float = _WAIT_S) -> float:
    """Wait; return when it came (monotonic)."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it never came")
        time.sleep(0.002)
    return time.monotonic()


def dispatcher(folder: Path) -> dict[str, float]:
    """Kill a dispatcher at work and time its successor."""
    witness = Witness()
    settings = {
        "upstream_url": f"http://127.0.0.1:{witness.port}",
        "dispatcher_port": free_port(),
        "max_in_flight": _IN_FLIGHT,
    }
    with process("dispatcher", folder, **settings):
        until(lambda: len(witness.sent) >= _SETTLE_LINES)
    first = Counter(witness.sent)
    witness.sent.clear()
    witness.first_at = None
    log = folder / "data" / "batchline.sqlite3-wal"
    result = {"log_mb": log.stat().st_size / 1e6}
    started = time.monotonic()
    with process("dispatcher", folder, **settings) as child:
        until(lambda: witness.first_at)
        read = read_bytes(child)
        assert witness.first_at is not None
        result["first_request_s"] = witness.first_at - started
        until(lambda: len(witness.sent) >= _SETTLE_LINES)
        result["read_mb"] = read / 1e6
        result["read_all_mb"] = read_bytes(child) / 1e6
    again = Counter({line: n for line, n in witness.sent.items() if line in first or n > 1})
    return result | {"sent_again": len(again)}


def gateway(folder: Path, made: HalfDone) -> dict[str, float]:
    """Time a gateway's first answers."""
    port = free_port()
    result = {}
    started = time.monotonic()
    with process("gateway", folder, port=port) as child:
        for name, path in (("batch_s", f"/v1/batches/{made.batch_id}"), ("ready_s", "/ready")):
            until(lambda path=path: _answers(f"http://127.0.0.1:{port}{path}"))  # type: ignore[misc]
            result[f"gateway_{name}"] = time.monotonic() - started
        result["gateway_read_mb"] = read_bytes(child) / 1e6
    return result


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as exc:
        return url.endswith("/ready") and exc.code == 503  # an answer, if no dispatcher runs
    except OSError:
        return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--kilobytes", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="folder to make, or to use if it was made before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        folder = options.keep or Path(name)
        note = folder / "made.json"
        if note.exists():
            made = HalfDone(**json.loads(note.read_text()))
        else:
            made = asyncio.run(
                make_half_done(
                    folder / "data",
                    lines=options.lines,
                    done=options.lines // 2,
                    kilobytes=options.kilobytes,
                )
            )
            note.write_text(json.dumps({n: getattr(made, n) for n in HalfDone.__slots__}))
        result = {"lines": made.lines, "input_mb": made.input_bytes / 1e6, "in_flight": _IN_FLIGHT}
        result |= dispatcher(folder)
        result |= gateway(folder, made)
    for key, value in result.items():
        print(f"{key:>20}  {value:,.2f}")


if __name__ == "__main__":
    main()
