"""Hostile lines of an input file through the real admission: the batch fails and names the line."""

from __future__ import annotations

import json

import pytest
from inputs import BODY, BROKEN, line

from batchline.jsonl.body_rules import NO_RULES
from batchline.jsonl.input_file import Limits
from batchline.states import BatchStatus
from dispatcher.batches.admit import Admission

MOST_BYTES = 300_000
HOSTILE = {
    "an open nest": b"[" * 200_000,
    "a nest of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a nest in the body": line().replace(b'"m"', b"[" * 100_000 + b"]" * 100_000),
    "a nest behind": line()[:-1] + b', "x": ' + b"[" * 100_000,
    "a number of 200,000 digits as id": line(custom_id="a").replace(b'"a"', b"9" * 200_000),
    "half a surrogate pair as id": line(custom_id="a").replace(b'"a"', b'"\\ud800"'),
    "an open string": b'{"custom_id": "' + b"a" * 200_000,
    "only backslashes": b'{"custom_id": "' + b"\\" * 200_001,
    "a bad escape": line(custom_id="a").replace(b'"a"', b'"\\a"'),
    "half an escape": line(custom_id="a").replace(b'"a"', b'"\\u00"'),
    "an encoded surrogate": line(custom_id="a").replace(b'"a"', b'"\xed\xa0\x80"'),
    "an overlong slash": line(custom_id="a").replace(b'"a"', b'"\xc0\xaf"'),
    "too high a character": line(custom_id="a").replace(b'"a"', b'"\xf4\x90\x80\x80"'),
    "a BOM": b"\xef\xbb\xbf" + line(),
    "UTF-32": line().decode().encode("utf-32-le"),
    "all bytes": bytes(b for b in range(256) if b != 10),
    "gzip": b"\x1f\x8b\x08" + b"\x00" * 50,
    "a zip": b"PK\x03\x04" + b"\x00" * 50,
    "CSV": b"custom_id,method,url,body",
    "an array of lines": b"[" + line() + b"]",
    "two objects": line() + line(),
    "a comment": b"# nothing",
    "Python": b"{'custom_id': 'a'}",
    "id twice, the last a number": line()[:-1] + b', "custom_id": 7}',
    "url twice, the last another": line()[:-1] + b', "url": "http://evil.example/"}',
    "body twice, the last a stream": line()[:-1]
    + b', "body": %s}' % json.dumps(BODY | {"stream": True}).encode(),
    "a url elsewhere": line(url="http://169.254.169.254/v1/chat/completions"),
    "a file": line(url="file:///etc/passwd"),
    "a path upwards": line(url="/v1/chat/completions/../../admin"),
    "another method spelled the same": line(method="ＰＯＳＴ"),
    "the longest allowed and one more": line().ljust(MOST_BYTES + 1),
} | {name: bad for name, (bad, _, _) in BROKEN.items() if name != "too long"}


async def nobody_knows():
    return None


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_line_fails_the_batch_and_is_named(store, blobs, clock, make_batch, bad):
    """Its neighbours are fine and are not accused; nothing of the batch is left to run."""
    if b"\n" in bad:
        bad = bad.replace(b"\n", b" ")
    writer = blobs.create("files/in")
    await writer.write(line(custom_id="1") + b"\n" + bad + b"\n" + line(custom_id="3") + b"\n")
    await writer.commit()
    batch = await make_batch()
    limits = Limits(lines=100, line_bytes=MOST_BYTES, faults=10)

    await Admission(
        store,
        blobs,
        limits=limits,
        one_model=False,
        body=NO_RULES,
        served=nobody_knows,
        clock=clock,
    ).admit(batch)

    failed = await store.get_batch(batch.id)
    assert failed.status == BatchStatus.FAILED
    assert {fault.line for fault in failed.faults} == {2}
    assert all(fault.message and len(fault.message) < 1000 for fault in failed.faults)
    assert (failed.counts.total, failed.failed_at) == (0, int(clock()))
