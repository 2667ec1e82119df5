"""Long answers: in pieces, at a pace, so many at a time. A client that reads nothing costs little."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager

from waiting import until

from batchline.settings import Settings
from batchline.states import OutcomeKind
from gateway.connections.bound import Limits, limits_of
from gateway.transfer.simultaneous_downloads import PIECE_BYTES

LARGE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n' * 150_000
IMPATIENT = Limits(patience_s=0.05, slowest_bytes_s=10**9)


async def until_it_is(told, expected):
    """Wait until `told()` is what is expected."""
    await until(lambda: told() == expected, saw=lambda: f"{told()} instead of {expected}")


def under_way(gateway, kind="download"):
    return gateway.metrics.downloads.labels(kind)._value.get()


def cut(gateway, why):
    return gateway.metrics.connections_cut.labels(why)._value.get()


@contextmanager
def asking(gateway, path):
    """Ask for it on a connection of its own, and read nothing."""
    with socket.create_connection(gateway.address) as reader:
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield reader


@asynccontextmanager
async def unread(gateway, path, *, many=1):
    """Hold a download of which nothing is read."""
    with asking(gateway, path) as reader:
        await until_it_is(lambda: under_way(gateway), many)
        yield reader


async def large(gateway):
    return f"/v1/files/{(await gateway.upload(LARGE)).id}/content"


async def test_what_a_client_does_not_read_is_a_piece(starts):
    """No more waits in memory than one piece, whatever the size of the file."""
    gateway = await starts()
    [(_, server, _)] = starts.started
    path = await large(gateway)

    def waits():
        found = [c.transport for c in server.runner.server.connections if c.transport is not None]
        return max(transport.get_write_buffer_size() for transport in found)

    async with unread(gateway, path):
        await until(lambda: waits() > 0)

        assert waits() <= PIECE_BYTES


async def test_a_client_that_takes_too_little_is_cut_off(starts):
    """Its place is free again, and it cannot take what it has for the whole."""
    gateway = await starts(limits=IMPATIENT)

    with asking(gateway, await large(gateway)) as reader:
        await until_it_is(lambda: cut(gateway, "slow_reader"), 1)
        await until_it_is(lambda: under_way(gateway), 0)
        got = await asyncio.to_thread(read_all, reader)

    assert got < len(LARGE)


def read_all(reader):
    got = 0
    try:
        while piece := reader.recv(1 << 20):
            got += len(piece)
    except ConnectionResetError:
        pass
    return got


async def test_a_client_that_reads_gets_all_of_it_however_impatient_we_are(starts):
    """Time counts only while bytes wait."""
    gateway = await starts(limits=Limits(patience_s=5))

    answer = await gateway.call("GET", await large(gateway))

    assert answer.body == LARGE


def test_a_slow_client_gets_the_time_that_its_pace_needs():
    """The setting is the pace; 30 s come on top."""
    limits = limits_of(Settings(min_download_bytes_s=2000), open_files=65_536)

    assert limits.wait_s(0) == 30
    assert limits.wait_s(100_000) == 80


async def test_a_quiet_time_is_not_the_clients(starts):
    """Who follows a batch is not cut off while there is nothing to send."""
    gateway = await starts(limits=IMPATIENT)
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OutcomeKind.SUCCEEDED, until="in_progress", left=1)
    path = f"{gateway.url}/v1/batches/{batch.id}/results?follow=true"

    async with gateway.http.get(path) as following:
        await until_it_is(lambda: under_way(gateway, "follow"), 1)
        with asking(gateway, await large(gateway)):
            await until_it_is(lambda: cut(gateway, "slow_reader"), 1)

        assert under_way(gateway, "follow") == 1
        assert following.status == 200


async def test_more_downloads_than_places_are_told_to_come_back(starts):
    """503 with Retry-After; small requests go on, and a place that is given back is taken."""
    gateway = await starts(max_downloads=2)
    path = await large(gateway)

    async with unread(gateway, path), unread(gateway, path, many=2):
        refused = await gateway.call("GET", path)
        assert (await gateway.call("GET", "/v1/files")).status == 200
        assert (await gateway.call("HEAD", path)).status == 200
    await until_it_is(lambda: under_way(gateway), 0)

    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "BATCHLINE_MAX_DOWNLOADS" in refused.json["error"]["message"]
    assert (await gateway.call("GET", path)).body == LARGE


async def test_followed_results_have_places_of_their_own(starts):
    """Downloads that stall keep nobody from following, nor the other way round."""
    gateway = await starts(max_downloads=1)
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OutcomeKind.SUCCEEDED, until="in_progress", left=1)
    results = f"/v1/batches/{batch.id}/results"
    path = await large(gateway)

    async with unread(gateway, path), gateway.http.get(f"{gateway.url}{results}?follow=true") as it:
        assert it.status == 200
        assert (await gateway.call("GET", f"{results}?follow=true")).status == 503
        assert (await gateway.call("GET", results)).status == 503


async def test_a_place_is_given_back_when_the_answer_breaks(gateway):
    """A file whose end is gone tears the connection and keeps no place."""
    file = await gateway.upload(LARGE)
    [blob] = gateway.stored()
    blob.write_bytes(LARGE[: len(LARGE) // 2])

    with asking(gateway, f"/v1/files/{file.id}/content") as reader:
        got = await asyncio.to_thread(read_all, reader)

    assert got < len(LARGE)
    await until_it_is(lambda: under_way(gateway), 0)


async def test_places_are_shown_as_metrics(gateway):
    """An operator sees how many are under way, of each kind."""
    page = (await gateway.call("GET", "/metrics")).body.decode()

    assert 'batchline_downloads{kind="download"} 0.0' in page
    assert 'batchline_downloads{kind="follow"} 0.0' in page
