"""The lives of batches as a client sees them that never stops asking: gateway and dispatcher as processes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from scripted import HANG, completion, error
from waiting import until

ENDS = {
    "completed": "completed_at",
    "failed": "failed_at",
    "expired": "expired_at",
    "cancelled": "cancelled_at",
}
NEXT = {
    "validating": {"in_progress", "failed", "cancelling"},
    "in_progress": {"finalizing", "cancelling", "failed"},
    "finalizing": {"completed", "expired", "cancelling", "failed"},
    "cancelling": {"cancelled", "failed"},
    **{end: set() for end in ENDS},
}
STAMPS = ["created_at", "in_progress_at", "finalizing_at", "cancelling_at", *ENDS.values()]


def reachable(old, new):
    """Tell whether a status may follow another, with steps between that nobody saw."""
    return new == old or any(reachable(step, new) for step in NEXT[old])


class Watch:
    """One batch, asked for again and again: every answer is held against the one before it."""

    def __init__(self, http, url, batch):
        self.http, self.url, self.last = http, url, batch
        self.answers = 0
        self.seen = [batch["status"]]

    async def get(self, path):
        async with self.http.get(self.url + path) as answer:
            assert answer.status == 200
            return await answer.read()

    async def ask(self):
        """Ask once and check the answer."""
        self.check(json.loads(await self.get(f"/v1/batches/{self.last['id']}")))
        self.answers += 1
        return self.last["status"] in ENDS

    def check(self, new):
        old, self.last = self.last, new
        assert list(new) == list(old)
        if new["status"] != self.seen[-1]:
            self.seen.append(new["status"])
        assert reachable(old["status"], new["status"]), (old["status"], new["status"])
        assert old["status"] not in ENDS or new == old
        for stamp in STAMPS:
            assert old[stamp] in (None, new[stamp]), stamp
        times = [new[s] for s in STAMPS[:3] if new[s]]
        assert times == sorted(times)
        counts, before = new["request_counts"], old["request_counts"]
        assert all(counts[name] >= before[name] for name in before)
        assert before["total"] in (0, counts["total"])
        assert counts["completed"] + counts["failed"] <= counts["total"]
        is_open = new["status"] not in ENDS
        assert (new["usage"] is None) == (is_open and counts["completed"] == 0)
        ended = [status for status, stamp in ENDS.items() if new[stamp]]
        assert ended == ([new["status"]] if new["status"] in ENDS else [])
        if new["status"] not in ENDS:
            assert (new["output_file_id"], new["error_file_id"]) == (None, None)

    async def until_ended(self):
        """Ask at full speed until it ends; the very answer that says so must be whole."""
        while not await self.ask():
            pass
        await self.check_files()
        for _ in range(50):
            await self.ask()
        return self.last

    async def check_files(self):
        batch, counts = self.last, self.last["request_counts"]
        lines = {}
        for name in ("output_file_id", "error_file_id"):
            text = b""
            if batch[name] is not None:
                file = json.loads(await self.get(f"/v1/files/{batch[name]}"))
                text = await self.get(f"/v1/files/{batch[name]}/content")
                assert len(text) == file["bytes"] > 0
            lines[name] = [json.loads(line)["custom_id"] for line in text.splitlines()]
        assert len(lines["output_file_id"]) == counts["completed"]
        assert sum(map(len, lines.values())) == counts["total"]
        assert len(set(lines["output_file_id"] + lines["error_file_id"])) == counts["total"]


def content(kind, count, model="m"):
    return b"\n".join(
        json.dumps(
            {
                "custom_id": f"{kind}-{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [], "tag": f"{kind}-{n}"},
            }
        ).encode()
        for n in range(count)
    )


async def script(body, attempt):
    kind, _, number = body["tag"].partition("-")
    if kind == "bad" or (kind == "mixed" and int(number) % 5 == 0):
        return error(400, "no")
    if kind in {"late", "stopped"} and int(number) >= 20:
        return HANG
    return web.json_response(completion())


@pytest.mark.spec("3.5-atomic-end", "3.5-counts-grow", "3.5-stamps-fixed", "3.5-never-back")
@pytest.mark.spec("3.5-one-end", "3.5-stamps-ordered", "3.5-conservation")
async def test_no_answer_ever_contradicts_the_one_before_it(make_system, upstream):
    """Six batches, each to another end, asked for at full speed; the first terminal answer is whole."""
    upstream.script = script
    system = make_system(
        min_completion_window_s=1, max_in_flight=64, max_concurrent_batches=8, one_model_per_batch=1
    )
    await asyncio.to_thread(system.wait_ready)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=100)) as http:

        async def post(path, **kwargs):
            async with http.post(system.url + path, **kwargs) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def submit(kind, count, window="24h", text=None):
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", text or content(kind, count), filename="in.jsonl")
            file = await post("/v1/files", data=form)
            body = {
                "input_file_id": file["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": window,
            }
            watch = Watch(http, system.url, await post("/v1/batches", json=body))
            asking.append(asyncio.create_task(watch.until_ended()))
            return watch

        asking = []
        watches = {
            "fine": await submit("fine", 800),
            "mixed": await submit("mixed", 500),
            "bad": await submit("bad", 100),
            "refused": await submit("refused", 0, text=b"nonsense\n" * 500),
            "late": await submit("late", 100, window="2s"),
            "stopped": await submit("stopped", 100),
        }

        async def stop():
            watch = watches["stopped"]
            await until(lambda: watch.last["request_counts"]["completed"] >= 20)
            shown = await post(f"/v1/batches/{watch.last['id']}/cancel")
            assert shown["status"] in {"cancelling", "cancelled"}
            assert shown["cancelling_at"] is not None

        async with asyncio.timeout(90):
            *ends, _ = await asyncio.gather(*asking, stop())

    by_kind = dict(zip(watches, ends, strict=True))
    assert {kind: batch["status"] for kind, batch in by_kind.items()} == {
        "fine": "completed",
        "mixed": "completed",
        "bad": "completed",
        "refused": "failed",
        "late": "expired",
        "stopped": "cancelled",
    }
    counts = {kind: tuple(batch["request_counts"].values()) for kind, batch in by_kind.items()}
    total, completed, failed = counts.pop("late")
    assert (total, failed) == (100, 0)
    assert completed <= 20
    assert counts == {
        "fine": (800, 800, 0),
        "mixed": (500, 400, 100),
        "bad": (100, 0, 100),
        "refused": (0, 0, 0),
        "stopped": (100, 20, 0),
    }
    assert by_kind["bad"]["output_file_id"] is None
    assert by_kind["late"]["expired_at"] >= by_kind["late"]["expires_at"]
    assert "in_progress" in watches["stopped"].seen
    assert all(watch.answers > 50 for watch in watches.values())


def resident_peak_mb(process):
    """Read the most memory a process ever held, from the kernel's own account."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def write_big_file(path, megabytes):
    """Write chat lines of about a kilobyte; return how many."""
    text = "The quick brown fox jumps over the lazy dog. " * 18
    count = 0
    with path.open("wb") as file:
        while file.tell() < megabytes * 1e6:
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": text}],
                "tag": f"t{count}",
            }
            whole = {
                "custom_id": f"request-{count}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(whole).encode() + b"\n")
            count += 1
    return count


@pytest.mark.slow
@pytest.mark.spec("2.2-streamed")
async def test_200_megabytes_are_taken_in_within_bounded_memory(make_system, tmp_path):
    """Uploaded, checked and in progress: gateway below 150 MB, dispatcher below 250 MB resident."""
    path = tmp_path / "big.jsonl"
    lines = write_big_file(path, 200)
    system = make_system(max_in_flight=32)

    def drive():
        system.wait_ready()
        with path.open("rb") as file:
            uploaded = system.client.files.create(file=file, purpose="batch")
        started = time.monotonic()
        batch = system.client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        created_in_s = time.monotonic() - started
        batch = system.until(batch, lambda b: b.status != "validating")
        validated_in_s = time.monotonic() - started
        batch = system.until(batch, lambda b: b.request_counts.completed >= 2000)
        peaks = {name: resident_peak_mb(p) for name, p in system.processes.items()}
        print({"created_s": created_in_s, "validated_s": validated_in_s} | peaks)
        return uploaded, batch, peaks

    uploaded, batch, peaks = await asyncio.to_thread(drive)

    assert uploaded.bytes == path.stat().st_size >= 200_000_000
    assert (batch.status, batch.request_counts.total) == ("in_progress", lines)
    assert peaks["gateway"] < 150
    assert peaks["dispatcher"] < 250


async def test_a_script_that_posts_a_form_polls_and_gets_results_runs_as_it_stands(
    make_system, tmp_path
):
    """One form with bare lines and a model; then `status`, `progress.percent` and `results_url`, no more."""
    system = make_system()
    await asyncio.to_thread(system.wait_ready)
    bare = [
        {"custom_id": f"c{n}", "body": {"messages": [{"role": "user", "content": str(n)}]}}
        for n in range(30)
    ]
    form = aiohttp.FormData()
    form.add_field("file", "".join(json.dumps(one) + "\n" for one in bare), filename="x.jsonl")
    form.add_field("model", "m")
    async with aiohttp.ClientSession(system.url) as http:
        async with http.post("/v1/batches", data=form) as answer:
            made = await answer.json()

        async def completed():
            async with http.get(f"/v1/batches/{made['batch_id']}") as answer:
                batch = await answer.json()
            return batch if batch["status"] == "completed" else None

        batch = await until(completed)
        async with http.get(batch["results_url"]) as answer:
            results = [json.loads(line) for line in (await answer.text()).splitlines()]

    assert batch["progress"] == {"total": 30, "completed": 30, "failed": 0, "percent": 100.0}
    assert [line["custom_id"] for line in results] == [one["custom_id"] for one in bare]
    assert all(line["response"]["status_code"] == 200 for line in results)


async def test_inline_requests_are_answered_like_the_lines_of_a_file(make_system):
    """No file, no second call; bad ones fail the batch with their numbers."""
    system = make_system()
    await asyncio.to_thread(system.wait_ready)
    good = [
        {"custom_id": f"c{n}", "body": {"messages": [{"role": "user", "content": str(n)}]}}
        for n in range(20)
    ]

    async def ended(requests):
        body = {"model": "m", "requests": requests}
        async with (
            aiohttp.ClientSession(system.url) as http,
            http.post("/v1/batches", json=body) as answer,
        ):
            made = await answer.json()
        batch = await asyncio.to_thread(system.client.batches.retrieve, made["id"])
        return await asyncio.to_thread(system.until, batch, lambda b: b.status in ENDS)

    done, refused = await ended(good), await ended([good[0], {"body": {}}, good[0]])

    assert (done.status, done.request_counts.completed) == ("completed", 20)
    assert refused.status == "failed"
    assert {(fault.line, fault.code) for fault in refused.errors.data} >= {
        (2, "missing_required_parameter"),
    }
