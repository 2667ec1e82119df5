"""A batch's records in input order: whichever lines ran, in whatever order, however large they are."""

from __future__ import annotations

import json
import random

from bench import admitted, settle

from batchline.jsonl.finish_index import unpack
from batchline.states import OutcomeKind
from dispatcher.batches.merge import Merge

MEGABYTE = 1 << 20


async def merged(bench, batch):
    """Return the merge and its steps."""
    batch = await bench.store.get_batch(batch.id)
    merge = Merge(
        bench.store,
        bench.blobs,
        batch,
        await bench.store.segments(batch),
        unrun=OutcomeKind.CANCELLED,
    )
    return merge, [step async for step in merge.steps()]


def ids(records):
    return [json.loads(record)["custom_id"] for record in records]


async def test_lines_that_ran_and_lines_that_never_did_come_in_input_order(bench):
    """Slices that ran, that never ran, and that did in part, over the borders of steps and slices."""
    total, chance = 3000, random.Random(7)
    ran = chance.sample(range(1500), 700) + chance.sample(range(1500, 1700), 200)
    batch = await admitted(bench, total)
    await settle(bench, batch, ran)

    merge, steps = await merged(bench, batch)

    output = [record for step in steps for record in step.output]
    errors = [record for step in steps for record in step.error]
    assert ids(output) == [f"id-{n}" for n in sorted(ran)]
    assert ids(errors) == [f"id-{n}" for n in range(total) if n not in set(ran)]
    files = [b"".join(output), b"".join(errors)]
    places = [place for entries in merge.finish_index() for place in unpack(entries)]
    assert [p.line for p in places[: len(ran)]] == ran
    assert sorted(p.line for p in places) == list(range(total))
    for place in places:
        record = files[place.in_error_file][place.offset : place.offset + place.length]
        assert ids([record]) == [f"id-{place.line}"]


async def test_large_results_are_read_a_few_megabytes_at_a_time(bench):
    """A thousand embeddings or long answers at once would be a gigabyte."""
    batch = await admitted(bench, 40)
    await settle(bench, batch, range(39, -1, -1), body=json.dumps("x" * MEGABYTE).encode())

    _, steps = await merged(bench, batch)

    assert ids(r for step in steps for r in step.output) == [f"id-{n}" for n in range(40)]
    assert max(sum(map(len, step.output)) for step in steps) < 6 * MEGABYTE
    assert len(steps) < 20
