"""A data directory with a batch half done, made through blobs, admission and store as they are.

`make_half_done` ends as a process does that was killed: nothing is closed, the write-ahead log is full.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchline.blobs import Blobs, open_blobs
from batchline.blobs.keys import file_key, segments_prefix
from batchline.clock import Clock
from batchline.jsonl.body_rules import NO_RULES
from batchline.jsonl.input_file import Limits
from batchline.jsonl.result_lines import answer_record
from batchline.model import (
    Batch,
    File,
    Lease,
    NewBatch,
    Outcome,
    Settlement,
    Usage,
    new_batch_id,
    new_file_id,
    request_id,
)
from batchline.states import BatchStatus, OutcomeKind
from batchline.store import Store, open_store
from dispatcher.batches.admit import Admission

_ENDPOINT = "/v1/chat/completions"
_WINDOW_S = 7 * 86400
_LIMITS = Limits(lines=10_000_000, line_bytes=16 << 20, faults=200)
_random = random.Random(1)
_VOCABULARY = [
    "".join(_random.choices("etaoinsrhldcumfpgwybvk", k=_random.randint(2, 9)))
    for _ in range(20_000)
]
_WORDS = " ".join(_random.choices(_VOCABULARY, k=2_000_000))
_SLICES_AT_ONCE = 4  # about what 30 ms of a busy dispatcher settle


@dataclass(frozen=True, slots=True)
class HalfDone:
    """What was made."""

    batch_id: str
    lines: int
    done: int
    input_bytes: int
    log_bytes: int


async def make_half_done(data: Path, *, lines: int, done: int, kilobytes: float) -> HalfDone:
    """Make a batch of `lines` of which at least the first `done` have their results."""
    path = data / "batchline.sqlite3"
    blobs = open_blobs(data / "blobs")
    async with open_store(path, clock_ms=lambda: int(time.time() * 1000)) as store:
        batch = await _running(store, blobs, lines=lines, kilobytes=kilobytes)
        while batch.counts.finished < done:
            left = -(-(done - batch.counts.finished) // 64)
            wanted = [(batch, min(_SLICES_AT_ONCE, left))]
            claim = await store.claim_each(wanted, holder="local/dead", ttl_s=3600)
            await _settle(store, blobs, batch, claim.leases, int(kilobytes * 1000))
            batch = await _again(store, batch)
        file = await store.get_file(batch.input_file_id, now=0)
        assert file is not None
        log_bytes = path.with_name(path.name + "-wal").stat().st_size
        return HalfDone(batch.id, lines, batch.counts.finished, file.bytes, log_bytes)


async def _running(store: Store, blobs: Blobs, *, lines: int, kilobytes: float) -> Batch:
    now = int(time.time())
    file_id = new_file_id()
    writer = blobs.create(file_key(file_id))
    for piece in _requests(lines, kilobytes):
        await writer.write(piece)
    await writer.commit()
    key = file_key(file_id)
    await store.add_file(File(file_id, writer.size_bytes, now, None, "in.jsonl", "batch", key))
    batch = await store.add_batch(
        NewBatch(new_batch_id(), _ENDPOINT, file_id, key, "7d", now, now + _WINDOW_S)
    )
    admission = Admission(
        store,
        blobs,
        limits=_LIMITS,
        one_model=False,
        body=NO_RULES,
        served=_unknown,
        clock=Clock(),
    )
    await admission.admit(batch)
    batch = await _again(store, batch)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert batch.counts.total == lines
    return batch


def _requests(count: int, kilobytes: float) -> Iterator[bytes]:
    for number in range(count):
        content = json.dumps(_text(number, int(kilobytes * 1000) - 135))
        yield (
            b'{"custom_id": "request-%d", "method": "POST", "url": "%s", "body": {"model": "instant", '
            b'"messages": [{"role": "user", "content": %s}]}}\n'
            % (number, _ENDPOINT.encode(), content.encode())
        )


def _text(number: int, size: int) -> str:
    """Return text of which no two are alike, and which packs about as well as what people write."""
    at = number * 7919 % (len(_WORDS) - size)
    return _WORDS[at : at + size]


def _answer(number: int, size: int) -> bytes:
    message = {"role": "assistant", "content": _text(number + 1, size)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return json.dumps({"model": "instant", "choices": [choice], "usage": usage}).encode()


async def _settle(store: Store, blobs: Blobs, batch: Batch, leases: list[Lease], size: int) -> None:
    outcomes = {
        lease.slice.first: [
            _outcome(batch, line, _answer(line, size))
            for line in range(lease.slice.first, lease.slice.first + lease.slice.count)
        ]
        for lease in leases
    }
    records = [(o.index, o.record) for group in outcomes.values() for o in group]
    segment = await blobs.put_segment(segments_prefix(batch.id), records)
    groups = [(lease, outcomes[lease.slice.first]) for lease in leases]
    await store.settle([Settlement(batch.seq, segment, groups)], now=int(time.time()))


def _outcome(batch: Batch, line: int, answer: bytes) -> Outcome:
    name = request_id(batch.id, line)
    record = answer_record(name, f"request-{line}", status=200, upstream_id=name, body=answer)
    return Outcome(line, OutcomeKind.SUCCEEDED, record, Usage(7, 0, 3, 0, 10))


async def _again(store: Store, batch: Batch) -> Batch:
    found = await store.get_batch(batch.id)
    assert found is not None
    return found


async def _unknown() -> None:
    """Know no models: none is refused."""
