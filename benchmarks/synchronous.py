"""What `POST /batch` costs: one call of many requests, beside as many direct calls in the same run.

Run as `python -m benchmarks.synchronous [--requests 100] [--rounds 100]`. A real gateway before an instant
upstream, all on this machine's cores. A direct round sends each request to the upstream itself, at once, over
connections that are kept; a call sends them in one. The rounds take turns, so that whatever else the machine
does meets both. Prints the medians in ms, their difference (the overhead) and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
import uvloop

from .throughput import free_port, running, wait_ready

_CHAT = "/v1/chat/completions"
_WARM_UP = 10  # rounds of each kind that do not count


def bodies(count: int, kilobytes: float) -> list[dict[str, object]]:
    """Make chats of about `kilobytes` each."""
    text = "The quick brown fox jumps over the lazy dog. " * max(1, int(kilobytes * 1000 / 45))
    messages = [{"role": "user", "content": text}]
    return [{"model": "instant", "messages": messages, "seed": n} for n in range(count)]


async def measure(
    api: str, upstream: str, made: list[dict[str, object]], rounds: int
) -> dict[str, float]:
    """Take turns; return the medians of both, in ms."""
    direct_bodies = [json.dumps(body).encode() for body in made]
    call_body = json.dumps({"requests": [{"url": _CHAT, "body": body} for body in made]}).encode()
    head = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=head
    ) as session:

        async def ask(url: str, body: bytes) -> bytes:
            async with session.post(url, data=body) as answer:
                answer.raise_for_status()
                return await answer.read()

        async def direct() -> None:
            answers = await asyncio.gather(*(ask(upstream + _CHAT, body) for body in direct_bodies))
            assert all(json.loads(answer)["choices"] for answer in answers)

        async def call() -> None:
            responses = json.loads(await ask(api + "/batch", call_body))["responses"]
            assert all(one["response"]["body"]["choices"] for one in responses)

        times = {"direct": list[float](), "call": list[float]()}
        for number in range(_WARM_UP + rounds):
            for name, way in (("direct", direct), ("call", call)):
                taken = await _timed(way)
                if number >= _WARM_UP:
                    times[name].append(taken)
    return {name: statistics.median(taken) * 1000 for name, taken in times.items()}


async def _timed(way: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await way()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--kilobytes", type=float, default=0.5)
    options = parser.parse_args()
    made = bodies(options.requests, options.kilobytes)
    port = free_port()
    instant = subprocess.Popen([sys.executable, "-m", "benchmarks.instant", str(port)])
    try:
        with (
            tempfile.TemporaryDirectory(prefix="batchline-bench-") as name,
            running(Path(name), port) as (api, _),
        ):
            with httpx.Client(base_url=api + "/v1", timeout=60, trust_env=False) as client:
                wait_ready(client)
            upstream = f"http://127.0.0.1:{port}"
            p50 = uvloop.run(measure(api, upstream, made, options.rounds))
    finally:
        instant.terminate()
        instant.wait(30)
    figures = {
        "direct_p50_ms": round(p50["direct"], 1),
        "call_p50_ms": round(p50["call"], 1),
        "overhead_ms": round(p50["call"] - p50["direct"], 1),
        "ratio": round(p50["call"] / p50["direct"], 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
