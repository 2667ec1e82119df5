"""Bytes in memory: bounded, whatever waits; nobody waits for ever."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiohttp import web
from bench import request_line
from scripted import HANG, completion
from waiting import turn, until

from batchline.errors import StoreUnavailable
from batchline.model import Batch
from batchline.states import BatchStatus
from dispatcher.attempts.leased_slices import Held, ReadyLine
from dispatcher.sending.memory import Memory


def held(model="m"):
    batch = Batch(1, "b", BatchStatus.IN_PROGRESS, "/v1/x", "f", "k", "24h", 0, 1, model=model)
    return Held(batch, SimpleNamespace(), 9, 0.0)


def read(memory, sizes, of=None):
    """Read lines of these sizes ahead."""
    of = of or held()
    lines = [
        ReadyLine(of, i, "r", "c", b"x" * size, size_bytes=size) for i, size in enumerate(sizes)
    ]
    of.lines.extend(lines)
    for line in lines:
        memory.read_ahead(line)
    return lines


def test_what_is_read_ahead_takes_its_bytes_until_it_is_done():
    """Whether it is ready or in flight."""
    memory = Memory(most_bytes=100)
    one, two = read(memory, [30, 40])
    memory.pin(one)
    assert (memory.held_bytes, memory.free_bytes) == (70, 30)

    memory.free(one)
    memory.unpin(one)

    assert (memory.held_bytes, one.body, two.body) == (40, None, b"x" * 40)


def test_what_is_laid_aside_goes_when_others_need_the_room():
    """The one that has waited longest first, and no more than needed."""
    memory = Memory(most_bytes=100)
    lines = read(memory, [30, 30, 30])
    for line in lines:
        memory.lay_aside(line)
    assert memory.free_bytes == 100

    read(memory, [35])

    assert [line.body is None for line in lines] == [True, False, False]
    assert memory.held_bytes == 95


def test_a_line_that_lost_its_body_still_tells_its_model():
    """It is placed by it, in a batch of several models."""
    memory = Memory(most_bytes=30)
    (line,) = read(memory, [1], held(None))
    line.body = b'{"model": "n"}'
    memory.lay_aside(line)
    read(memory, [30])

    assert (line.body, line.model) == (None, "n")


async def test_a_line_in_flight_waits_for_room_and_takes_it_from_what_was_only_read_ahead():
    """Else slots and memory could wait for each other. The last that was read goes first."""
    memory = Memory(most_bytes=100)
    flying, *ready = read(memory, [40, 30, 30])
    memory.pin(flying)

    await memory.take(50)

    assert [line.body is None for line in ready] == [True, True]
    assert memory.held_bytes == 90


def test_what_is_read_and_does_not_fit_is_read_again_later():
    """A slice has several lines, and may be larger than what is free."""
    memory = Memory(most_bytes=100)
    lines = read(memory, [60, 60, 40])

    assert [line.body is None for line in lines] == [False, True, False]
    assert memory.held_bytes == 100


async def test_lines_wait_for_room_in_turn():
    """Who came first is served first, even if there is room for the second."""
    memory = Memory(most_bytes=100)
    (flying,) = read(memory, [60])
    memory.pin(flying)
    large = asyncio.ensure_future(memory.take(80))
    small = asyncio.ensure_future(memory.take(10))
    await turn()
    assert not large.done()
    assert not small.done()

    memory.free(flying)
    memory.unpin(flying)
    await asyncio.gather(large, small)

    assert memory.held_bytes == 90


async def test_a_line_larger_than_all_there_is_goes_alone():
    """When nothing else is in flight; what waits gives way."""
    memory = Memory(most_bytes=100)
    (waiting,) = read(memory, [20])
    assert not memory.is_idle
    memory.lay_aside(waiting)
    assert memory.is_idle

    await memory.take(500)

    assert (memory.held_bytes, waiting.body) == (500, None)
    assert memory.free_bytes < 0


def test_room_is_kept_for_answers_of_the_size_that_came_lately():
    """Whether or not the lines in flight are answered so; one line may always fly."""
    memory = Memory(most_bytes=100)
    memory.take_answer(40)
    memory.give(40)
    one, two, three = read(memory, [1, 1, 1])
    assert memory.may_send

    memory.pin(one)
    assert memory.may_send
    memory.pin(two)
    assert not memory.may_send
    for line in (one, two):
        memory.free(line)
        memory.unpin(line)
    assert memory.may_send
    assert three.body


def test_what_was_dropped_is_forgotten():
    """At once where it waits, when it lands where it is in flight."""
    memory = Memory(most_bytes=100)
    of = held()
    one, two = read(memory, [10, 20], of)
    memory.pin(one)
    of.is_dropped = True
    memory.free_all(of)
    assert memory.held_bytes == 10

    memory.unpin(one)

    assert (memory.held_bytes, memory.free_bytes) == (0, 100)
    assert two.body is None


# -- in a whole dispatcher

KB = 1000


def long_lines(count, size, **body):
    return "\n".join(request_line(i, pad="x" * size, **body) for i in range(count))


async def test_what_is_in_flight_is_bounded_in_bytes(bench, upstream):
    """Places are free, and lines wait: there is no room for more of them."""
    upstream.script = lambda body, attempt: HANG
    batch = await bench.submit(long_lines(20, 100 * KB))
    async with bench.running(max_held_bytes=450 * KB):
        await until(lambda: upstream.in_flight == 4)
        assert bench.metrics.registry.get_sample_value("batchline_held_bytes") <= 450 * KB
        upstream.release.set()
        ended = await bench.ended(batch)
    output, _ = await bench.results(ended)

    assert len(output) == 20
    assert upstream.most_in_flight == 4
    assert bench.metrics.registry.get_sample_value("batchline_held_bytes") == 0


async def test_lines_larger_than_the_bound_go_one_by_one(bench, upstream):
    """However small it is set, nothing waits for ever."""
    batch = await bench.submit(long_lines(5, 100 * KB))
    async with bench.running(max_held_bytes=1000):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 5
    assert upstream.most_in_flight == 1


@pytest.mark.parametrize("size", [200, 50 * KB])
async def test_lines_that_wait_for_their_retry_leave_room_for_others(bench, upstream, size):
    """Their bodies go, and come back byte for byte when their turn comes."""
    upstream.script = lambda body, attempt: (
        web.Response(status=429, headers={"Retry-After": "1"})
        if body["tag"].startswith("slow") and not upstream.release.is_set()
        else web.json_response(completion())
    )
    slow = "\n".join(request_line(i, pad="y" * size, tag=f"slow{i}") for i in range(4))
    async with bench.running(max_held_bytes=5 * (size + 200), max_attempts=99):
        waiting = await bench.submit(slow)
        await until(lambda: len(upstream.seen) == 4)
        ended = await bench.ended(await bench.submit(long_lines(20, size)))
        upstream.release.set()
        other = await bench.ended(waiting)

    assert (ended.counts.completed, other.counts.completed) == (20, 4)
    sent = {request.body for request in upstream.requests if b"slow3" in request.body}
    assert all(body.count(b"y" * size) == 1 for body in sent)


async def test_bodies_are_read_again_as_they_were(bench, upstream):
    """A line of a slice with blank lines and a byte order mark in it, whose body had to go."""
    upstream.script = lambda body, attempt: (
        web.Response(status=503) if attempt == 1 else web.json_response(completion())
    )
    lines = [request_line(i, pad="é" * 30 * KB) for i in range(12)]
    batch = await bench.submit("\ufeff" + "\n\n".join(lines) + "\n")
    async with bench.running(max_held_bytes=100 * KB):
        ended = await bench.ended(batch)
    by_tag = {}
    for request in upstream.requests:
        tag = request.body[request.body.index(b'"tag"') :][:20]
        by_tag.setdefault(tag, set()).add(request.body)

    assert ended.counts.completed == 12
    assert {len(bodies) for bodies in by_tag.values()} == {1}


async def test_an_input_that_is_gone_when_a_body_is_read_again_fails_its_batch(bench, upstream):
    """It says so, and does not try for ever."""
    upstream.script = lambda body, attempt: (
        web.Response(status=503) if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(long_lines(6, 50 * KB))

    async with bench.running(max_held_bytes=120 * KB, retry_base_s=0.5, retry_max_s=0.5):
        await until(lambda: len(upstream.seen) == 6)
        await bench.blobs.delete(batch.input_key)
        ended = await bench.ended(batch)

    assert ended.status in {BatchStatus.FAILED, BatchStatus.COMPLETED}
    if ended.status is BatchStatus.FAILED:
        assert "input file cannot be read any more" in ended.faults[0].message


async def test_a_disk_that_refuses_a_body_costs_no_try(bench, upstream):
    """It waits and asks again, however few tries a line has."""
    refused = []

    async def refuses(blobs, ranges):
        if len(upstream.seen) == 6 and len(refused) < 20:
            refused.append(ranges)
            raise StoreUnavailable("Too many open files.")
        return await blobs.read_many(ranges)

    bench.instead("blobs", read_many=refuses)
    upstream.script = lambda body, attempt: (
        web.Response(status=503) if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(long_lines(6, 50 * KB))
    async with bench.running(max_held_bytes=120 * KB, max_attempts=1):
        ended = await bench.ended(batch)

    assert (ended.counts.completed, len(refused)) == (6, 20)


async def test_short_lines_that_do_not_fit_are_not_claimed_again_and_again(bench, upstream):
    """They wait until there is room for a slice of them."""
    claims = []

    async def counted(store, picked, **wanted):
        claims.append(picked)
        return await store.claim_each(picked, **wanted)

    bench.instead("store", claim_each=counted)
    upstream.script = lambda body, attempt: (
        HANG if len(body["pad"]) > 100 * KB else web.json_response(completion())
    )
    async with bench.running(max_held_bytes=1100 * KB):
        long = await bench.submit(long_lines(5, 200 * KB))
        await until(lambda: upstream.in_flight == 5)
        short = await bench.submit(long_lines(200, 4 * KB))
        await until(lambda: bench.is_in(short, BatchStatus.IN_PROGRESS))
        asked = upstream.health_asked
        await until(lambda: upstream.health_asked > asked + 20)
        while_full = len(claims)
        upstream.release.set()
        ends = [await bench.ended(batch) for batch in (long, short)]

    assert [ended.counts.failed for ended in ends] == [0, 0]
    assert while_full < 20
