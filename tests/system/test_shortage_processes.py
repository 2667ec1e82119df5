"""A dispatcher that runs out of file descriptors: lines wait, nobody is blamed, and afterwards all goes on."""

from __future__ import annotations

import asyncio
import urllib.request

from bench import request_line
from prometheus_page import samples
from scripted import Share
from shortage import open_files_of

LINES = 300


async def test_lines_wait_while_no_file_descriptor_is_left(make_system, upstream):
    """No circuit opens, no try is spent; the log names `ulimit -n`; with the limit raised the batch completes."""
    share = upstream.script = Share(0)
    system = make_system(max_in_flight=100)
    content = "\n".join(request_line(n) for n in range(LINES)).encode()
    await asyncio.to_thread(system.wait_ready)

    with open_files_of(system.processes["dispatcher"].pid, spare=20):
        batch = await asyncio.to_thread(system.submit, content)
        await asyncio.to_thread(system.until_logged, "run out of file descriptors")
        held = await asyncio.to_thread(system.client.batches.retrieve, batch.id)
    share.many = LINES
    ended = await asyncio.to_thread(system.ended, batch)

    assert held.request_counts.failed == 0
    assert ended.request_counts.completed == LINES
    assert "no_descriptors" in tries(system)
    assert set(tries(system)) <= {"none", "no_descriptors", "no_body"}
    assert "is taken out" not in system.logs()
    assert "ulimit -n" in system.logs()


def tries(system):
    """Return how many tries ended for which reason."""
    address = f"http://127.0.0.1:{system.ops_port}/metrics"
    with urllib.request.urlopen(address, timeout=30) as answer:
        page = answer.read().decode()
    found = samples(page, "batchline_request_attempts_total")
    return {labels["reason"]: count for labels, count in found if count}
