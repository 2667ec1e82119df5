"""Retry: a new batch of exactly the lines that did not succeed, byte for byte."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from aiohttp import web
from clocks import MovedDay
from inputs import requests
from scripted import HANG, completion, error

from batchline.blobs.keys import file_key
from batchline.states import BatchStatus, OnFaults


def refusing(*lines):
    """A script that refuses the lines the first time, as a server that is set up wrongly."""

    def script(body, attempt):
        refused = int(body["tag"][1:]) in lines and attempt == 1
        return error(400, "no") if refused else web.json_response(completion())

    return script


async def retry(house, batch, **kwargs):
    return await house.call("POST", f"/batches/{batch.id}/retry", **kwargs)


async def run(house, content, **fields):
    batch = await house.submit(content, **fields)
    async with house.running():
        return await house.ended(batch)


@pytest.mark.spec("beyond-retry", "beyond-retry-bodies")
async def test_exactly_the_failed_lines_run_again_byte_for_byte(house, upstream):
    """A new file and a new batch, linked; between them the two batches answer every line."""
    upstream.script = refusing(0, 3, 9)
    lines = [line.decode() for line in requests(10).splitlines()]
    lines[3] = lines[3].replace('"tag"', '"seed": 12345678901234567890,  "x": 1e-07, "tag"')
    content = "\ufeff" + lines[0] + "\r\n\n  \n" + "\n".join(lines[1:])
    first = await run(house, content, metadata={"name": "nightly"}, output_expires_after_s=7200)

    made = (await retry(house, first)).json
    async with house.running():
        second = await house.ended(await house.store.get_batch(made["id"]))

    sent = await house.content(made["input_file_id"])
    file = (await house.call("GET", f"/files/{made['input_file_id']}")).json
    output = [json.loads(x) for x in (await house.content(second.output_file_id)).splitlines()]
    assert sent == f"{lines[0]}\r\n{lines[3]}\n{lines[9]}\n".encode()
    assert (file["filename"], file["purpose"], file["bytes"]) == (
        "in_retry.jsonl",
        "batch",
        len(sent),
    )
    assert made["metadata"] == {"name": "nightly", "retry_of": first.id}
    assert (made["status"], made["endpoint"], made["completion_window"]) == (
        "validating",
        first.endpoint,
        "24h",
    )
    assert second.output_expires_after_s == 7200
    assert (second.status, second.counts.completed) == (BatchStatus.COMPLETED, 3)
    assert [x["custom_id"] for x in output] == ["id-0", "id-3", "id-9"]
    assert (await house.store.get_batch(first.id)) == first


@pytest.mark.spec("beyond-retry")
@pytest.mark.parametrize("end", [BatchStatus.CANCELLED, BatchStatus.EXPIRED])
async def test_lines_that_never_ran_are_retried_too(house, upstream, end):
    """After a cancel or an expiry: what is in the error file, no more and no less."""
    upstream.script = lambda body, attempt: (
        HANG if int(body["tag"][1:]) % 3 else web.json_response(completion())
    )
    house.clock = clock = MovedDay(time.time())
    batch = await house.submit(30, expires_in_s=3600)
    async with house.running(max_in_flight=40):
        await house.finished(batch, 10)
        if end is BatchStatus.CANCELLED:
            await house.call("POST", f"/batches/{batch.id}/cancel")
        else:
            clock.advance(3600)
        ended = await house.ended(batch)
        clock.at = time.time()
        upstream.release.set()
        upstream.script = refusing()
        made = (await retry(house, ended)).json
        second = await house.ended(await house.store.get_batch(made["id"]))

    assert ended.status is end
    assert (second.counts.total, second.counts.completed) == (20, 20)


async def test_a_retry_of_a_retry_is_linked_to_the_latest(house, upstream):
    """The file's name does not grow; window and metadata may be given, null takes one away."""
    upstream.script = lambda body, attempt: error(400, "no")
    first = await run(house, 3, metadata={"a": "1", "b": "2"})
    second = (await retry(house, first)).json
    async with house.running():
        ended = await house.ended(await house.store.get_batch(second["id"]))
    body = {"completion_window": "2d", "metadata": {"a": None, "c": "3"}}

    third = (await retry(house, ended, json=body)).json

    file = (await house.call("GET", f"/files/{third['input_file_id']}")).json
    assert file["filename"] == "in_retry.jsonl"
    assert third["metadata"] == {"b": "2", "c": "3", "retry_of": second["id"]}
    assert third["completion_window"] == "2d"
    assert third["expires_at"] - third["created_at"] == 2 * 86400


async def test_the_link_counts_among_the_sixteen_pairs(house, upstream):
    """A full set of pairs is refused with the remedy, and the remedy works."""
    upstream.script = lambda body, attempt: error(400, "no")
    batch = await run(house, 2, metadata={f"k{i}": "v" for i in range(16)})

    refused = await retry(house, batch)
    taken = await retry(house, batch, json={"metadata": {"k0": None}})

    assert (refused.status, refused.json["error"]["param"]) == (400, "metadata")
    assert '{"metadata": {"<key>": null}}' in refused.json["error"]["message"]
    assert len(taken.json["metadata"]) == 16


async def test_retrying_twice_makes_two_batches_but_once_under_one_key(house, upstream):
    """Without a key each request makes one; with it the same, and no second file; never another's."""
    upstream.script = lambda body, attempt: error(400, "no")
    batch, other = await run(house, 2), await run(house, 2)
    plain = [(await retry(house, batch)).json["id"] for _ in range(2)]
    key = {"Idempotency-Key": "k1"}

    before = len((await house.call("GET", "/files")).json["data"])
    answers = await asyncio.gather(*(retry(house, batch, headers=key) for _ in range(4)))
    files = len((await house.call("GET", "/files")).json["data"]) - before
    clashes = [
        await retry(house, batch, headers=key, json={"completion_window": "2d"}),
        await retry(house, other, headers=key),
    ]

    assert len(set(plain)) == 2
    assert len({a.json["id"] for a in answers}) == 1
    assert files == 1
    assert [c.status for c in clashes] == [409, 409]
    assert [c.json["error"]["code"] for c in clashes] == ["idempotency_key_reused"] * 2


@pytest.mark.spec("beyond-retry-nothing")
async def test_what_cannot_be_retried_is_refused_with_the_reason(house, upstream):
    """Open, succeeded, failed, never read, files gone, unknown: 409 or 404, nothing left behind."""
    opened = await house.submit(2)
    async with house.running():
        succeeded = await house.ended(opened)
        broken = await house.ended(await house.submit("nonsense"))
        upstream.script = lambda body, attempt: error(400, "no")
        no_error = await house.ended(await house.submit(2))
        no_input = await house.ended(await house.submit(2))
    opened, unread = await house.submit(2), await house.submit(2)
    await house.call("POST", f"/batches/{unread.id}/cancel")
    unread_still_closing = await retry(house, unread)
    async with house.running():
        unread = await house.ended(unread)
        await house.call("DELETE", f"/files/{no_error.error_file_id}")
        await house.call("DELETE", f"/files/{no_input.input_file_id}")
        await house.ended(opened)
    paused = await house.submit(2)
    blobs = sorted((house.tmp_path / "blobs").rglob("*"))

    said = {
        "open": await retry(house, paused),
        "succeeded": await retry(house, succeeded),
        "failed": await retry(house, broken),
        "unread": await retry(house, unread),
        "no error file": await retry(house, no_error),
        "no input file": await retry(house, no_input),
    }

    assert {a.status for a in said.values()} == {unread_still_closing.status} == {409}
    assert {a.headers["x-should-retry"] for a in said.values()} == {"false"}
    messages = {name: a.json["error"]["message"] for name, a in said.items()}
    assert "it has not ended" in messages["open"]
    assert messages["succeeded"] == f"Nothing to retry: every request of {succeeded.id} succeeded."
    assert "it has no results" in messages["failed"]
    assert "before its requests were read" in messages["unread"]
    assert f"its error file {no_error.error_file_id} was deleted" in messages["no error file"]
    assert f"its input file {no_input.input_file_id} was deleted" in messages["no input file"]
    assert (await house.call("POST", "/batches/batch_x/retry")).status == 404
    assert sorted((house.tmp_path / "blobs").rglob("*")) == blobs


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"completion_window": 24}, "completion_window"),
        ({"completion_window": "1y"}, "completion_window"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ([], None),
    ],
)
async def test_bad_bodies_are_refused(house, upstream, body, param):
    """400 naming the field."""
    upstream.script = lambda body, attempt: error(400, "no")
    answer = await retry(house, await run(house, 1), json=body)

    assert (answer.status, answer.json["error"]["param"]) == (400, param)


async def test_an_input_file_that_is_not_what_was_run_is_noticed(house, upstream):
    """Lost bytes are told, and nothing of the new file stays."""
    upstream.script = lambda body, attempt: error(400, "no")
    batch = await run(house, 3)
    await house.blobs.delete(file_key(batch.input_file_id))
    gone = await retry(house, batch)
    writer = house.blobs.create(file_key(batch.input_file_id))
    await writer.write(b"{}\n")
    await writer.commit()
    other = await retry(house, batch)

    assert (gone.status, other.status) == (409, 503)
    assert "bytes of its files are gone" in gone.json["error"]["message"]
    assert "1 of 3 lines" in other.json["error"]["message"]
    assert len((await house.call("GET", "/batches")).json["data"]) == 1
    assert not [p for p in (house.tmp_path / "blobs" / "tmp").rglob("*") if p.is_file()]


async def test_bad_lines_fail_alone_in_a_retry_too(house, upstream):
    """Where they did in the original; it knows how many requests it has before they are read."""
    lines = requests(3).splitlines()
    lines[1] = lines[1].replace(b'"model"', b'"modell"')
    fields = {"on_faults": OnFaults.FAIL_LINES, "requests": 3}
    first = await run(house, b"\n".join(lines), **fields)

    made = (await retry(house, first)).json
    stored = await house.store.get_batch(made["id"])
    async with house.running():
        second = await house.ended(stored)

    assert (first.counts.completed, first.counts.failed) == (2, 1)
    assert (stored.on_faults, stored.requests) == (OnFaults.FAIL_LINES, 1)
    assert (second.status, second.counts.failed) == (BatchStatus.COMPLETED, 1)
