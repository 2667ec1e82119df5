"""Lists walked by stock clients while hundreds of objects are created at the same time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

BATCHES, FILES = 300, 200
CREATORS = 16


async def walks_during(make, count, list_page, limits):
    """Create `count` objects, sixteen at a time, while stock clients walk the list.

    Each row of `limits` is one client's; its walks begin at the start and when every further quarter exists.
    Returns the ids created and all walks, the last one taken at the end.
    """
    made, numbers = [], iter(range(count))
    reached = [asyncio.Event() for _ in range(4)]
    reached[0].set()

    async def create():
        for _ in numbers:
            item = await make()
            made.append(item)
            reached[4 * len(made) // (count + 1)].set()

    async def walk(own):
        walks = []
        for event, limit in zip(reached, own, strict=True):
            await event.wait()
            walks.append([item.id async for item in list_page(limit)])
        return walks

    walkers = [asyncio.create_task(walk(own)) for own in limits]
    await asyncio.gather(*(create() for _ in range(CREATORS)))
    walks = list(itertools.chain(*await asyncio.gather(*walkers)))
    return made, [*walks, [item.id async for item in list_page(100)]]


def check_walks(made, walks):
    """Each walk is an unbroken piece of the one order, from where it began to the oldest."""
    whole = walks[-1]
    assert sorted(whole) == sorted(made)
    place = {item: n for n, item in enumerate(whole)}
    for walk in walks:
        assert walk == (whole[place[walk[0]] :] if walk else [])
    assert len({len(walk) for walk in walks}) > 3, "the list grew meanwhile"


@pytest.mark.spec("4-concurrent-creation", "4-new-arrivals", "4-each-once", "3.3-newest-first")
async def test_walks_during_creation_see_each_batch_once(gateway):
    """Three clients with limits from 3 to 100: none skipped, none twice, whenever they began."""
    file = await gateway.upload()
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }

    async def make():
        answer = await gateway.call("POST", "/v1/batches", json=body)
        assert answer.status == 200
        return answer.json["id"]

    made, walks = await walks_during(
        make,
        BATCHES,
        lambda limit: gateway.client.batches.list(limit=limit),
        [[3, 20, 99, 50], [100, 7, 20, 99], [50, 100, 13, 20]],
    )

    assert len(set(made)) == BATCHES
    check_walks(made, walks)


@pytest.mark.spec("4-concurrent-creation", "4-new-arrivals", "4-each-once")
async def test_walks_during_creation_see_each_file_once(gateway):
    """Files likewise, though all share a second."""

    async def make():
        return (await gateway.upload()).id

    made, walks = await walks_during(
        make,
        FILES,
        lambda limit: gateway.client.files.list(limit=limit),
        [[3, 100, 20, 10000], [20, 10000, 50, 7]],
    )

    assert len(set(made)) == FILES
    check_walks(made, walks)
