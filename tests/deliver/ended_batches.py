"""Batches that have ended, with their files, as handlers of results meet them."""

from __future__ import annotations

import json
from itertools import count

from batchline.blobs.keys import file_key
from batchline.jsonl.result_lines import answer_record, error_record
from batchline.model import (
    File,
    Outcome,
    SegmentRef,
    Settlement,
    Usage,
    new_file_id,
    request_id,
)
from batchline.states import BatchStatus, OutcomeKind

_numbers = count()


def chat_answer(index):
    """What a model server answers to a chat request."""
    return {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"answer {index}"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def chat_request(index):
    """The line of the input file that it answers."""
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {index}"}]}
    return {
        "custom_id": f"c{index}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


async def ended_batch_of(
    store, blobs, make_batch, lines, *, failed=(), refused=(), body_of=chat_answer, **fields
):
    """Return a completed batch; `failed`: lines without an answer, `refused`: answered with 400."""
    key = f"files/in-{next(_numbers)}"
    await _write(blobs, key, (json.dumps(chat_request(i)).encode() + b"\n" for i in range(lines)))
    batch = await make_batch(lines=lines, slice_lines=64, input_key=key, **fields)
    bad = {*failed, *refused}
    good = (_answer(batch, i, body_of(i)) for i in range(lines) if i not in bad)
    wrong = (_refusal(batch, i, i in refused) for i in sorted(bad))
    output = await _file(store, blobs, good) if lines > len(bad) else None
    error = await _file(store, blobs, wrong) if bad else None
    await _settle(store, batch)
    now = batch.created_at
    assert await store.close(batch, BatchStatus.COMPLETED, output=output, error=error, now=now)
    return await store.get_batch(batch.id)


async def _settle(store, batch):
    """Give each line an outcome; their records are in the files."""
    leases = (await store.claim_each([(batch, 1 << 20)], holder="a", ttl_s=30)).leases
    groups = [
        (lease, [Outcome(i, OutcomeKind.SUCCEEDED, b"{}\n", Usage()) for i in _lines(lease)])
        for lease in leases
    ]
    settled = Settlement(batch.seq, SegmentRef("segments/x", 0, 10), groups)
    await store.settle([settled], now=batch.created_at)


def _lines(lease):
    return range(lease.slice.first, lease.slice.first + lease.slice.count)


def _answer(batch, index, body, status=200):
    return answer_record(
        request_id(batch.id, index),
        f"c{index}",
        status=status,
        upstream_id=f"u{index}",
        body=json.dumps(body).encode(),
    )


def _refusal(batch, index, is_answered):
    if is_answered:
        body = {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}
        return _answer(batch, index, body, status=400)
    return error_record(
        request_id(batch.id, index), f"c{index}", code="server_error", message="it died"
    )


async def _file(store, blobs, records):
    file_id = new_file_id()
    size = await _write(blobs, file_key(file_id), records)
    return File(file_id, size, 1_800_000_000, None, "x.jsonl", "batch_output", file_key(file_id))


async def _write(blobs, key, records):
    writer = blobs.create(key)
    for record in records:
        await writer.write(record)
    await writer.commit()
    return writer.size_bytes
