"""Connections: how many, who makes room, and how long a request's head may take."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from waiting import pass_time, until

from batchline.metrics import Metrics
from gateway.connections.bound import SURPLUS, Connections, Entry, Limits

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_AN_UPLOAD = (
    b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 100000\r\n\r\n--x\r\n"
)
_PATIENCE_S = 60


class Client:
    """A connection as `Connections` sees it."""

    def __init__(self, *, is_idle):
        self.is_idle = is_idle
        self.has_ended = False

    def end(self):
        self.has_ended = True


@pytest.fixture
def ebbs():
    return []


@pytest.fixture
def connections(clock, ebbs):
    limits = Limits(most=8)
    return Connections(limits, Metrics(), on_ebb=lambda: ebbs.append(1), monotonic=clock)


def filled(connections, *, idle=0, many=8):
    clients = [Client(is_idle=n < idle) for n in range(many)]
    assert {connections.opened(client) for client in clients} == {Entry.SERVED}
    return clients


def test_a_new_one_takes_the_place_of_the_oldest_idle_one(connections):
    """Busy ones are never ended for it."""
    clients = filled(connections, idle=2)

    assert connections.opened(Client(is_idle=False)) is Entry.SERVED

    assert [client.has_ended for client in clients[:3]] == [True, False, False]


def test_a_new_one_is_refused_where_all_are_busy(connections, clock, caplog):
    """It is said once a minute, not for each."""
    caplog.set_level(logging.WARNING)
    filled(connections)

    refused = [connections.opened(Client(is_idle=False)) for _ in range(3)]
    clock.advance(61)
    connections.opened(Client(is_idle=False))

    assert set(refused) == {Entry.SURPLUS}
    assert [r.getMessage()[:29] for r in caplog.records] == ["all 8 connections are busy (B"] * 2


def test_too_many_to_be_refused_politely_are_dropped(connections):
    """Even saying no takes a connection."""
    filled(connections)

    entries = [connections.opened(Client(is_idle=False)) for _ in range(SURPLUS + 1)]

    assert entries == [Entry.SURPLUS] * SURPLUS + [Entry.DROPPED]


def test_there_is_room_again_when_one_has_gone(connections, clock):
    """A place is not lost, whatever came of it."""
    clients = filled(connections)
    surplus = Client(is_idle=False)
    assert connections.opened(surplus) is Entry.SURPLUS
    connections.closed(surplus)
    connections.closed(clients[3])
    connections.closed(clients[3])

    assert connections.opened(Client(is_idle=False)) is Entry.SERVED


def test_the_ebb_of_a_flood_is_told_and_that_of_a_few_is_not(clock, ebbs):
    """What many used is given back to the system."""
    connections = Connections(
        Limits(most=200), Metrics(), on_ebb=lambda: ebbs.append(1), monotonic=clock
    )
    few = filled(connections, many=40)
    for client in few:
        connections.closed(client)
    assert ebbs == []

    for client in filled(connections, many=100)[:50]:
        connections.closed(client)
    assert ebbs == [1]


@asynccontextmanager
async def connected(gateway, data=b""):
    """Open a connection and send so much on it."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    try:
        writer.write(data)
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()


async def answer_of(reader, *, whole=True):
    """Read one answer: its status, headers and JSON; `whole`: until the connection ends."""
    async with asyncio.timeout(_PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        if whole:
            assert await reader.read() == b""
    return int(head.split()[1]), head.decode().lower(), body


async def until_it_is(gateway, name, expected, **labels):
    """Wait until a gauge or a counter is so high."""
    instrument = getattr(gateway.metrics, name)
    instrument = instrument.labels(**labels) if labels else instrument
    told = instrument._value.get
    await until(lambda: told() == expected, saw=lambda: f"{name} is {told()}, not {expected}")


HURRIED = Limits(head_s=0.2)


async def test_a_head_that_does_not_arrive_is_answered_408(starts):
    """However slowly it trickles: what counts is when it began."""
    gateway = await starts(limits=HURRIED)

    async with connected(gateway, HEAD[:20]) as (reader, _):
        status, _, body = await answer_of(reader)

    assert status == 408
    assert "head did not arrive within 0.2 s" in body["error"]["message"]


async def test_a_head_that_trickles_is_late_all_the_same(starts):
    """Each further byte buys no time."""
    gateway = await starts(limits=HURRIED)

    async def trickle(writer):
        writer.write(HEAD[:-4] + b"\r\n")
        while True:
            writer.write(b"X: y\r\n")
            await pass_time(0.01)

    async with connected(gateway) as (reader, writer):
        trickling = asyncio.create_task(trickle(writer))
        status, _, _ = await answer_of(reader, whole=False)
        trickling.cancel()

    assert status == 408


async def test_who_says_nothing_is_left(starts):
    """Without an answer: nobody asked."""
    gateway = await starts(limits=HURRIED)

    async with connected(gateway) as (reader, _), asyncio.timeout(_PATIENCE_S):
        assert await reader.read() == b""

    await until_it_is(gateway, "connections", 0)
    await until_it_is(gateway, "connections_cut", 1, why="late_head")


async def test_an_idle_connection_outlives_the_time_for_a_head(starts):
    """Between two requests a client may wait; the next head has its time from its first byte."""
    gateway = await starts(limits=HURRIED)

    async with connected(gateway, HEAD) as (reader, writer):
        await answer_of(reader, whole=False)
        async with connected(gateway):
            await until_it_is(gateway, "connections_cut", 1, why="late_head")
        writer.write(HEAD)
        assert (await answer_of(reader, whole=False))[0] == 200

        writer.write(HEAD[:5])
        assert (await answer_of(reader))[0] == 408


async def test_a_body_has_its_own_time(starts):
    """An upload that goes on is not cut off by the time for its head."""
    gateway = await starts(limits=HURRIED)

    async with connected(gateway, HALF_AN_UPLOAD) as (reader, _):
        async with connected(gateway):
            await until_it_is(gateway, "connections_cut", 1, why="late_head")

        assert not reader.at_eof()
        await until_it_is(gateway, "connections", 1)


async def test_beyond_the_bound_a_client_is_told_to_come_back(starts):
    """503 with Retry-After and the error object; whether we live is said all the same."""
    gateway = await starts(limits=Limits(most=3))
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(gateway, HALF_AN_UPLOAD))
        await until_it_is(gateway, "connections", 3)

        async with connected(gateway, HEAD.replace(b"/health", b"/v1/files")) as (reader, _):
            status, head, body = await answer_of(reader)
        async with connected(gateway, HEAD.replace(b"/health", b"/v1/messages")) as (reader, _):
            _, other_head, other = await answer_of(reader)
        async with connected(gateway, HEAD) as (reader, _):
            alive = await answer_of(reader)

    assert status == 503
    assert (other["type"], other["error"]["type"]) == ("error", "overloaded_error")
    assert f"request-id: {other['request_id']}" in other_head
    assert "retry-after: " in head
    assert body["error"]["type"] == "server_error"
    assert "BATCHLINE_MAX_CONNECTIONS" in body["error"]["message"]
    assert alive[0] == 200
    await until_it_is(gateway, "connections", 0)
    assert (await gateway.call("GET", "/v1/files")).status == 200


async def test_idle_connections_make_room(starts):
    """A flood of connections that ask nothing keeps nobody out."""
    gateway = await starts(limits=Limits(most=4))
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(connected(gateway))
        async with connected(gateway, HEAD.replace(b"/health", b"/v1/files")) as (reader, _):
            status, _, _ = await answer_of(reader, whole=False)

    assert status == 200
