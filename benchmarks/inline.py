"""How soon a batch begins whose requests come inline, beside an uploaded file in the same run.

Run as `python -m benchmarks.inline [--lines 100000] [--kilobytes 2]`. Real gateway and dispatcher, an instant
upstream; all share this machine's cores. Prints the seconds from the last byte of the body (or, of the
upload, from the create) to the first request that the upstream gets, MB a second taken in, and the peak
memory of each process. `behind`: model and endpoint stand behind the requests, which costs a second pass.
`messages`: the same in Anthropic's dialect.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from .instant import Instant
from .throughput import Memory, free_port, running, wait_ready

_PIECE_BYTES = 1 << 18
_MODEL, _ENDPOINT = "instant", "/v1/chat/completions"


class Noticed(Instant):
    """An instant upstream that notes when a request came first."""

    first = threading.Event()
    at = 0.0

    def data_received(self, data: bytes) -> None:
        """Note the first request for a line, and answer."""
        if data.startswith(b"POST") and not Noticed.first.is_set():
            Noticed.at = time.monotonic()
            Noticed.first.set()
        super().data_received(data)


def serve(port: int) -> None:
    """Run the upstream in a thread of its own, as long as this process."""

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Noticed, "127.0.0.1", port)
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(listen(),), daemon=True).start()


def requests(lines: int, kilobytes: float) -> list[bytes]:
    """Make requests without method, url and model, of about `kilobytes` each."""
    text = "The quick brown fox jumps over the lazy dog. " * max(1, int(kilobytes * 1000 / 45) - 2)
    return [
        json.dumps(
            {"custom_id": str(n), "body": {"messages": [{"role": "user", "content": text}]}}
        ).encode()
        for n in range(lines)
    ]


class Pieces:
    """A body sent piece by piece, which notes when its last one was taken."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.began = self.ended = 0.0

    def __iter__(self) -> Iterator[bytes]:
        self.began = time.monotonic()
        for start in range(0, len(self.body), _PIECE_BYTES):
            yield self.body[start : start + _PIECE_BYTES]
        self.ended = time.monotonic()


def inline(client: httpx.Client, made: list[bytes], *, behind: bool) -> tuple[float, float]:
    """Create one batch; return when its body had been sent, and MB/s of that."""
    known = json.dumps({"model": _MODEL, "endpoint": _ENDPOINT})[1:-1].encode()
    array = b'"requests":[' + b",".join(made) + b"]"
    pieces = Pieces(b"{" + b",".join([array, known] if behind else [known, array]) + b"}")
    client.post("/batches", content=iter(pieces)).raise_for_status()
    return pieces.ended, len(pieces.body) / 1e6 / (pieces.ended - pieces.began)


def messages(client: httpx.Client, made: list[bytes]) -> tuple[float, float]:
    """Create one message batch; return what `inline` does."""
    known = f'"params":{{"model":"{_MODEL}","max_tokens":9,'.encode()
    array = b",".join(one.replace(b'"body": {', known) for one in made)
    pieces = Pieces(b'{"requests":[' + array + b"]}")
    client.post("/messages/batches", content=iter(pieces)).raise_for_status()
    return pieces.ended, len(pieces.body) / 1e6 / (pieces.ended - pieces.began)


def uploaded(client: httpx.Client, made: list[bytes]) -> tuple[float, float]:
    """Upload whole lines and create a batch; return when it was asked for, and MB/s of the upload."""
    lines = [json.loads(one) for one in made]
    for line in lines:
        line |= {"method": "POST", "url": _ENDPOINT}
        line["body"]["model"] = _MODEL
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    began = time.monotonic()
    answer = client.post("/files", data={"purpose": "batch"}, files={"file": content})
    speed = len(content) / 1e6 / (time.monotonic() - began)
    body = {
        "input_file_id": answer.raise_for_status().json()["id"],
        "endpoint": _ENDPOINT,
        "completion_window": "24h",
    }
    asked = time.monotonic()
    client.post("/batches", json=body).raise_for_status()
    return asked, speed


def measure(create: Callable[[httpx.Client], tuple[float, float]]) -> dict[str, float]:
    """Run a fresh gateway and dispatcher for one create."""
    Noticed.first.clear()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        port = free_port()
        serve(port)
        with (
            running(Path(name), port) as (api, processes),
            httpx.Client(base_url=api + "/v1", timeout=600, trust_env=False) as client,
        ):
            wait_ready(client)
            with Memory(processes) as memory:
                asked, speed = create(client)
                if not Noticed.first.wait(120):
                    raise SystemExit("no request came within two minutes")
    return {
        "first_request_s": round(Noticed.at - asked, 2),
        "mb_s": round(speed),
        **{f"{name}_peak_mb": round(peak) for name, peak in memory.peaks.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kilobytes", type=float, default=2.0)
    parser.add_argument("--only", help="one of the ways")
    options = parser.parse_args()
    made = requests(options.lines, options.kilobytes)
    ways = {
        "inline": lambda client: inline(client, made, behind=False),
        "behind": lambda client: inline(client, made, behind=True),
        "messages": lambda client: messages(client, made),
        "uploaded": lambda client: uploaded(client, made),
    }
    for way, create in ways.items():
        if options.only in (None, way):
            print(way, json.dumps(measure(create)), flush=True)


if __name__ == "__main__":
    main()
