"""A machine that has read the document tries to refute it, on the real processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from aiohttp import web
from prometheus_page import samples
from scripted import HANG, Scripted, answer_for, error, read_form

from batchline.settings import Settings
from batchline.store import open_store
from batchline.webhooks.records import Standing, delivery_id
from gateway.openapi import Document

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).parent / "st"
METHODS = {"get", "post", "delete"}
OPEN, ENDED, SPARE = 12, 4, 8  # objects that stay, and those that are cancelled or deleted


def line(number, **body):
    return (
        f'{{"custom_id":"{number}","method":"POST","url":"/v1/chat/completions",'
        f'"body":{{"model":"m","messages":[],"tag":"{body.get("tag", number)}"}}}}\n'
    ).encode()


def answer(body, attempt):
    """Some requests never end, so that their batches stay open; some fail."""
    if body.get("tag") == "hang":
        return HANG
    if body.get("tag") == "fail":
        return error(400, "as it should")

    async def good(request):
        return web.json_response(answer_for(request.path, body))

    return good


class ModelServer(Scripted):
    """Refuses, as a real one does, what does not fit the request that the document describes."""

    def __init__(self):
        super().__init__(answer)
        self._document = Document(Settings()).tree

    async def _take(self, request):
        operation = self._document["paths"][request.path]["post"]
        content = operation["requestBody"]["content"]
        if "multipart/form-data" in content:
            form = await read_form(request) or {}
            is_whole = isinstance(form.get("model"), str) and hasattr(form.get("file"), "content")
            return web.json_response({"text": ""}) if is_whole else error(400, "model and file")
        schema = content["application/json"]["schema"]
        whole = schema | {"components": self._document["components"]}
        try:
            body = json.loads(await request.read())
            jsonschema.Draft202012Validator(whole).validate(body)
        except (ValueError, jsonschema.ValidationError) as exc:
            return error(400, str(exc).partition("\n")[0])
        return await super()._take(request)


@pytest.fixture
async def upstream():
    async with ModelServer() as server:
        yield server


def populate(system):
    """Leave files of each purpose and batches in each state; return their ids by dictionary."""
    client, submit = system.client, system.submit
    ended = [submit(line(n) + line("x", tag="fail")) for n in range(ENDED)]
    ended += [submit(b"not json\n") for _ in range(2)]
    ended = [system.ended(batch) for batch in ended]
    deleted = [submit(line(n) + line("x", tag=f"d{n}")) for n in range(SPARE)]
    deleted = [system.ended(batch) for batch in deleted]
    running = [submit(line(n, tag="hang")) for n in range(OPEN + SPARE)]
    running = [system.until(b, lambda b: b.status == "in_progress") for b in running]
    cancelled = [client.batches.cancel(submit(line(n)).id) for n in range(2)]
    asked = [
        client.responses.create(model="m", input="Hello", background=True).id for _ in range(SPARE)
    ]
    forgone = [client.responses.cancel(response).id for response in asked[: SPARE // 2]]
    for response in forgone:
        batch = client.batches.retrieve(response.replace("resp_", "batch_"))
        system.ended(batch)
    # Any object is a request for this endpoint, so that those that are drawn can be added.
    body = {"open": True, "model": "m", "endpoint": "/v1/score"}
    opened = [client.post("/batches", body=body, cast_to=object) for _ in range(OPEN + SPARE)]
    inputs = [client.files.create(file=line(n) * 3, purpose="batch").id for n in range(6)]
    others = [client.files.create(file=b"x", purpose="assistants").id]
    results = [batch.output_file_id for batch in ended if batch.output_file_id]
    uploads = [
        client.uploads.create(filename="f", purpose="batch", bytes=3, mime_type="text/plain")
        for _ in range(OPEN + SPARE)
    ]
    parts = [client.uploads.parts.create(upload.id, data=b"abc") for upload in uploads]
    client.uploads.complete(uploads[0].id, part_ids=[parts[0].id])
    endpoints = [
        client.webhooks.create(name="e", url=hook_of(system), event_types=["batch.completed"])
        for _ in range(OPEN + SPARE)
    ]
    return message_batches(system) | {
        "endpoints": [endpoint.id for endpoint in endpoints[:OPEN]],
        "endpoints_to_delete": [endpoint.id for endpoint in endpoints[OPEN:]],
        "receivers": [hook_of(system)],
        "uploads": [upload.id for upload in uploads[:OPEN]],
        "uploads_to_cancel": [upload.id for upload in uploads[OPEN:]],
        "parts": [part.id for part in parts],
        "files": inputs[:3] + others + results + [batch.input_file_id for batch in ended],
        "files_to_delete": [batch.input_file_id for batch in deleted],
        "inputs": inputs[3:] + others,
        "ended": [batch.id for batch in ended],
        "responses": asked[SPARE // 2 :],
        "responses_to_delete": forgone,
        "running": [batch.id for batch in running[:OPEN]],
        "to_cancel": [batch.id for batch in running[OPEN:]],
        "to_delete": [batch.id for batch in deleted],
        "open": [batch["id"] for batch in opened[:OPEN]],
        "to_finalize": [batch["id"] for batch in opened[OPEN:]],
        "batches": [batch.id for batch in (*ended, *running[:OPEN], *cancelled)],
    }


def message_batches(system):
    """Leave some that have ended and some that run; return their ids by dictionary."""
    ended = [message_batch(system, f"m{n}") for n in range(ENDED + SPARE)]
    for message_batch_id in ended:
        system.ended(system.client.batches.retrieve(message_batch_id.removeprefix("msg")))
    running = [message_batch(system, "hang") for _ in range(OPEN + SPARE)]
    return {
        "message_batches": ended[:ENDED] + running[:OPEN],
        "message_batches_ended": ended[:ENDED],
        "message_batches_to_delete": ended[ENDED:],
        "message_batches_to_cancel": running[OPEN:],
    }


def message_batch(system, tag):
    params = {"model": "m", "max_tokens": 9, "messages": [], "tag": tag}
    body = {"requests": [{"custom_id": "a", "params": params}]}
    made = system.client.post("/messages/batches", body=body, cast_to=object)
    return made["id"]


def hook_of(system):
    """A receiver: the gateway itself, which answers each event with 405."""
    return f"{system.url}/health"


async def deliveries(system):
    """Make those of the batches that have ended, as the deliverer does; return their ids."""
    path, now = system.data / "batchline.sqlite3", int(time.time())
    async with open_store(path, clock_ms=lambda: now * 1000) as store:
        ours = [Standing(hook_of(system))]
        await store.address_events(ours, calls_back=False, now=now, limit=100)
        return [delivery_id(one.number) for one in await store.list_deliveries(limit=100)]


async def run(system, folder, *options, config=""):
    """Run schemathesis; return its exit status and what it printed."""
    known = await asyncio.to_thread(populate, system)
    known["deliveries"] = await deliveries(system)
    for name, ids in known.items():
        (folder / f"{name}.txt").write_text("\n".join(f'"{known_id}"' for known_id in ids))
    text = (HERE / "schemathesis.toml").read_text()
    (folder / "schemathesis.toml").write_text(text + config)
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "--config-file", "schemathesis.toml", "run", f"{system.url}/openapi.json"),
        *("--no-color", *options),
        *(f"--header={name}: {value}" for name, value in system.headers.items()),
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


def broken(counted):
    """Return what must not happen; /ready may say 503, and does until the fleet is up."""
    return [
        (code, route)
        for code, route in counted
        if code == "torn" or (code.startswith("5") and (code, route) != ("503", "GET /ready"))
    ]


def answered(system):
    """Return how many requests the gateway itself has counted, by (code, METHOD route)."""
    _, text = system.get("/metrics")
    return {
        (of["code"], f"{of['method']} {of['route']}"): int(count)
        for of, count in samples(text, "batchline_http_requests_total")
    }


@pytest.mark.slow
async def test_hundreds_of_requests_refute_nothing(make_system, tmp_path):
    """No 5xx, no hang, no undocumented status, type or field, no bad input accepted."""
    system = make_system(
        max_concurrent_batches=64,
        api_key="secret",
        webhook_networks="127.0.0.0/8",
        delete_cancels="false",  # what answered a DELETE with 200 must be gone
    )
    await asyncio.to_thread(system.wait_ready)

    # How far an example gets depends on what the dispatcher has done by then: some 1,000 requests.
    status, printed = await run(
        system,
        tmp_path,
        *("--max-examples", "10"),
        config='\n[auth.openapi.key]\nbearer = "secret"\n',
    )

    counted = answered(system)
    assert status == 0, printed
    assert sum(counted.values()) >= 700, counted
    assert not broken(counted), counted
    assert "Traceback" not in system.logs()
    paths = Document(Settings()).tree["paths"]
    each = {f"{m.upper()} {path}" for path, item in paths.items() for m in item.keys() & METHODS}
    assert each == {name for code, name in counted if code in {"200", "206"} and name in each}
