"""Message batches at the gateway: made, ended by hand with true result lines, read back."""

from __future__ import annotations

import json

from claims import claim_one
from scripted import message

from batchline.blobs.keys import result_key
from batchline.jsonl.result_lines import (
    CANCELLED_CODE,
    EXPIRED_CODE,
    TIMEOUT_CODE,
    answer_record,
    error_record,
)
from batchline.model import File, Outcome, SegmentRef, Settlement, Slice, new_file_id, request_id
from batchline.states import BatchStatus, OutcomeKind

PATH = "/v1/messages/batches"
PARAMS = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def request_of(custom_id, **params):
    return {"custom_id": custom_id, "params": PARAMS | params}


async def create(gateway, *custom_ids, **headers):
    """Make a batch; return Anthropic's object."""
    requests = [request_of(custom_id) for custom_id in custom_ids or ("a", "b")]
    answer = await gateway.call("POST", PATH, json={"requests": requests}, headers=headers)
    assert answer.status == 200, answer.body
    return answer.json


def own(shown):
    return shown["id"].removeprefix("msg")


RESULTS = {
    "succeeded": lambda name, custom_id: answer_record(
        name, custom_id, status=200, upstream_id="u", body=json.dumps(message("né?")).encode()
    ),
    "errored": lambda name, custom_id: answer_record(
        name,
        custom_id,
        status=404,
        upstream_id="u",
        body=b'{"type":"error","error":{"type":"NotFoundError","message":"no such model"}}',
    ),
    "refused": lambda name, custom_id: answer_record(
        name,
        custom_id,
        status=400,
        upstream_id="u",
        body=b'{"error":{"message":"so not","type":"x","param":null,"code":null}}',
    ),
    "timed out": lambda name, custom_id: error_record(
        name, custom_id, code=TIMEOUT_CODE, message="No answer."
    ),
    "lost": lambda name, custom_id: error_record(
        name, custom_id, code="upstream_lost", message="The connection broke."
    ),
    "canceled": lambda name, custom_id: error_record(
        name, custom_id, code=CANCELLED_CODE, message="x"
    ),
    "expired": lambda name, custom_id: error_record(
        name, custom_id, code=EXPIRED_CODE, message="x"
    ),
}
UNRUN = {"canceled": BatchStatus.CANCELLED, "expired": BatchStatus.EXPIRED}


async def accept(gateway, shown, *, total):
    """Play the dispatcher's admission; return the batch."""
    batch = await gateway.store.get_batch(own(shown))
    await gateway.store.add_slices([Slice(batch.seq, 0, total, 0, 10)])
    await gateway.store.accept(batch, total=total, model="m", now=int(gateway.clock()))
    return await gateway.store.get_batch(batch.id)


async def end(gateway, shown, kinds):
    """Play the dispatcher: `kinds` says by custom_id how each request ends, in their order."""
    batch = await accept(gateway, shown, total=len(kinds))
    now = int(gateway.clock())
    ran = [n for n, kind in enumerate(kinds.values()) if kind not in UNRUN]
    claim = await claim_one(gateway.store, batch, slices=1, holder="t", ttl_s=30)
    outcomes = [Outcome(n, _outcome(list(kinds.values())[n]), b"{}\n") for n in ran]
    settlement = Settlement(batch.seq, SegmentRef("x", 0, 9), [(claim.leases[0], outcomes)])
    await gateway.store.settle([settlement], now=now)
    ends = {UNRUN[kind] for kind in kinds.values() if kind in UNRUN} or {BatchStatus.COMPLETED}
    if BatchStatus.CANCELLED in ends:
        await gateway.store.cancel_batch(batch.id, now=now)
    if BatchStatus.EXPIRED in ends:
        gateway.clock.advance(86400)
        await gateway.store.lapse(now=int(gateway.clock()))
    records = [
        (kind, RESULTS[kind](request_id(batch.id, n), custom_id))
        for n, (custom_id, kind) in enumerate(kinds.items())
    ]
    output = await _file(gateway, batch, "output", [r for kind, r in records if _is_good(kind)])
    error = await _file(gateway, batch, "error", [r for kind, r in records if not _is_good(kind)])
    batch = await gateway.store.get_batch(batch.id)
    assert await gateway.store.close(batch, *ends, output=output, error=error, now=now)


def _is_good(kind):
    return kind == "succeeded"


def _outcome(kind):
    return OutcomeKind.SUCCEEDED if _is_good(kind) else OutcomeKind.FAILED


async def _file(gateway, batch, kind, records):
    if not records:
        return None
    key = result_key(batch.id, kind)
    writer = gateway.blobs.create(key)
    await writer.write(b"".join(records))
    await writer.commit()
    size, now = writer.size_bytes, int(gateway.clock())
    return File(new_file_id(), size, now, None, "x.jsonl", "batch_output", key)


async def shown(gateway, batch):
    return (await gateway.call("GET", f"{PATH}/{batch['id']}")).json


async def results(gateway, batch):
    answer = await gateway.call("GET", f"{PATH}/{batch['id']}/results")
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]
