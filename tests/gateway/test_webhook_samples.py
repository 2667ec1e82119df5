"""The samples of the document on webhooks, in its order, against a gateway and the deliverer."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

from ports import free_port
from test_told_ends import completed, delivering
from waiting import until

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "webhooks.md"
RECEIVER = "serve_forever"


def samples(**places):
    """Return the samples with their addresses replaced: all but the receiver in order, and that."""
    text = DOCUMENT.read_text("utf-8")
    for written, instead in places.values():
        assert written in text
        text = text.replace(written, instead)
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (receiver,) = [one for one in found if RECEIVER in one]
    return [one for one in found if one != receiver], receiver


async def test_the_samples_do_what_the_document_says(telling, tmp_path):
    """Register, receive, test, rotate, call back, look and replay."""
    port, gateway = free_port(), telling
    steps, receiver = samples(
        gateway=("http://localhost:5000", gateway.url),
        hook=("https://hooks.example.com/batches", f"http://127.0.0.1:{port}/batches"),
        port=('("", 8080)', f'("127.0.0.1", {port})'),
        file=("examples/quickstart.jsonl", str(ROOT / "examples" / "quickstart.jsonl")),
    )
    register, test, rotate, call_back, look, replay = steps
    gateway.clock.at = time.time()  # the client takes no old signature
    names, log = {}, tmp_path / "receiver.log"

    async def do(step):
        await asyncio.to_thread(exec, step, names)

    await do(register)
    environment = os.environ | {"OPENAI_WEBHOOK_SECRET": names["endpoint"].signing_secret}
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", receiver), env=environment, stdout=written, stderr=written
        )
    try:
        await until(lambda: connects(port), not_yet=OSError, saw=log.read_text)
        await do(test)
        await do(rotate)
        await do(call_back)
        batch_id = names["batch"].id
        await completed(gateway, batch_id)
        async with delivering(gateway):
            await until(lambda: f"batch.completed {batch_id}" in log.read_text(), saw=log.read_text)
        await do(look)
        await do(replay)
    finally:
        process.kill()
        await process.wait()

    assert names["told"].status_code == 204
    assert names["rotated"].signing_secret not in log.read_text()
    assert {one["asked_by"] for one in names["page"]["data"]} == {"endpoint", "batch"}
    answer = await gateway.call("GET", f"/v1/batches/{batch_id}/deliveries")
    assert [one["state"] for one in answer.json["data"]].count("pending") >= 1


async def connects(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True
