"""Lines that are nested almost too deeply: what passes a check is sent, or fails, and holds nobody up."""

from __future__ import annotations

import asyncio

import pytest

from batchline.jsonl.input_file import FileCheck, Limits
from batchline.jsonl.line_check import Rules
from batchline.states import BatchStatus, OnFaults

CHAT = "/v1/chat/completions"
LIMITS = Limits(10, 1 << 20, 10)


def nested(depth):
    """One line, as deep as that."""
    value = b"[" * depth + b"]" * depth
    head = b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions",' % depth
    return head + b'"body":{"model":"m","messages":[],"tag":"%d","x":' % depth + value + b"}}\n"


def deepest():
    """The deepest lines that this thread, with nothing above it, lets pass."""
    passed = []
    for depth in range(100, 5000):
        check = FileCheck(1, Rules(CHAT), LIMITS)
        check.feed(nested(depth))
        if check.report().faults:
            break
        passed.append(depth)
    return passed[-60:]


@pytest.mark.parametrize("on_faults", OnFaults)
async def test_a_line_that_passed_its_check_ends(bench, upstream, on_faults):
    """The event loop has less room for calls than the thread that checked it."""
    depths = await asyncio.to_thread(deepest)
    batch = await bench.submit(b"".join(map(nested, depths)), on_faults=on_faults)
    other = await bench.submit(3)

    async with bench.running():
        ended, fine = await bench.ended(batch), await bench.ended(other)

    assert fine.counts.completed == 3
    assert ended.status is BatchStatus.COMPLETED
    assert ended.counts.finished == len(depths)
