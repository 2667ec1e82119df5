"""Gateway and dispatcher as real processes: killed, restarted, driven by the stock openai client."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from inputs import BROKEN, requests
from scripted import Share

ROOT = Path(__file__).parents[2]


async def in_thread(function, *args):
    """The openai client is synchronous here; the scripted upstream lives in this loop."""
    return await asyncio.to_thread(function, *args)


@pytest.mark.spec("1-base-path", "3.5-completed", "3.5-stamps-ordered", "3.1-model", "3.1-usage")
async def test_a_batch_goes_round_through_the_stock_client(make_system, upstream):
    """Upload, create, poll, download: 200 lines, all fields of the batch as documented."""
    system = make_system()

    def drive():
        system.wait_ready()
        batch = system.ended(system.submit(requests(200)))
        return batch, *system.results(batch)

    batch, output, errors = await in_thread(drive)

    assert batch.status == "completed"
    assert (len(output), errors) == (200, [])
    assert batch.request_counts.completed == 200
    assert batch.usage.total_tokens == 2000
    assert batch.model == "m"
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at


@pytest.mark.spec("6-each-once", "6-input-order")
async def test_kill_9_of_dispatcher_and_then_of_gateway_loses_nothing(make_system, upstream):
    """2,000 lines, both killed in the middle: every custom_id exactly once, little sent twice."""
    share = upstream.script = Share(0)
    system = make_system(max_in_flight=32)

    def drive():
        system.wait_ready()
        batch = system.submit(requests(2000))
        for name, done in (("dispatcher", 300), ("dispatcher", 700), ("gateway", 1100)):
            share.many = done
            system.until(batch, lambda b, done=done: b.request_counts.completed == done)
            system.kill(name)
            system.start(name)
        share.many = 2000
        batch = system.ended(batch)
        return batch, *system.results(batch)

    batch, output, errors = await in_thread(drive)

    assert batch.status == "completed"
    assert (len(output), errors) == (2000, [])
    assert [r["custom_id"] for r in output] == [f"id-{i}" for i in range(2000)]
    # what was in flight at the two kills was sent again, and nothing else
    assert sum(upstream.seen.values()) <= 2000 + 2 * 32


@pytest.mark.spec("2.2-lines-unread", "3.5-failed", "5.1-all-in-order")
async def test_a_bad_file_fails_with_every_fault_and_the_service_goes_on(make_system, upstream):
    """Twenty kinds of broken lines are listed by line and code; the next batch completes."""
    bad = [broken.replace(b"\n", b" ") for broken, _, _ in BROKEN.values()]
    system = make_system(max_line_bytes=10_000)

    def drive():
        system.wait_ready()
        failed = system.ended(system.submit(b"\n".join(bad)))
        fine = system.ended(system.submit(requests(5)))
        return failed, fine

    failed, fine = await in_thread(drive)

    assert len(bad) >= 20
    assert failed.status == "failed"
    assert [(e.line, e.code) for e in failed.errors.data] == [
        (number, code) for number, (_, code, _) in enumerate(BROKEN.values(), 1)
    ]
    assert failed.request_counts.total == 0
    assert failed.output_file_id is None
    assert failed.error_file_id is None
    assert fine.status == "completed"


async def test_ready_says_what_is_missing(make_system, upstream):
    """Health is about the process, readiness about the fleet."""
    upstream.health = 503
    system = make_system()

    def drive():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                seen = [system.get("/health")[0], *system.get("/ready")]
            except OSError:
                seen = [0, 0, ""]
            if "answers 503" in seen[2] or "no model server" in seen[2].lower():
                return seen
            time.sleep(0.1)
        return seen

    health, ready, text = await in_thread(drive)

    assert (health, ready) == (200, 503)
    assert json.loads(text)["reasons"]


async def test_sigterm_drains_and_leaves_no_lease(make_system, upstream):
    """What is in flight is waited for; the successor sends the others, and nothing twice."""
    share = upstream.script = Share(50)
    system = make_system(max_in_flight=16, grace_s=60)

    def drive():
        system.wait_ready()
        batch = system.submit(requests(300))
        system.until(batch, lambda b: b.request_counts.completed == 50)
        dispatcher = system.processes.pop("dispatcher")
        dispatcher.terminate()
        system.until_logged("waiting up to")
        share.many = 300
        code = dispatcher.wait(60)
        drained = system.client.batches.retrieve(batch.id).request_counts.completed
        system.start("dispatcher")
        return code, drained, *system.results(system.ended(batch))

    code, drained, output, _ = await in_thread(drive)

    assert (code, drained, len(output)) == (0, 66, 300)
    assert set(upstream.seen.values()) == {1}


async def test_the_readme_snippet_runs_verbatim(make_system, upstream, tmp_path):
    """The Python of the README's first screen works as printed (here on another port)."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    upstream.models = ["smollm2-135m-instruct"]
    system = make_system()
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("http://localhost:5000", system.url))

    def drive():
        import subprocess
        import sys

        system.wait_ready()
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=100, cwd=ROOT
        )

    done = await in_thread(drive)

    assert done.returncode == 0, done.stderr
    sent = (ROOT / "examples" / "quickstart.jsonl").read_text().splitlines()
    answers = done.stdout.strip().splitlines()
    assert [json.loads(line)["custom_id"] for line in answers] == [
        json.loads(line)["custom_id"] for line in sent
    ]
