"""What arrives in thousands of tiny things is parsed piece by piece, the event loop taking turns."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from waiting import turn

from gateway.connections.paced_parsing import _PIECE_BYTES, TurnTaker

BODY = b"1\r\na\r\n" * 50_000
HEAD = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
LINES = b"\r\n".join(b"%d" % n for n in range(500_000))


class Recorder(TurnTaker):
    """Notes what is parsed, and in which turn of the event loop."""

    seen: list
    turns: list

    def parse(self, data):
        if data:
            self.seen.append((len(self.turns), len(data)))
        super().parse(data)


async def received(sent):
    """Send one request to a server of Recorders; return the length of its body, and what they noted."""
    loop = asyncio.get_running_loop()
    Recorder.seen, Recorder.turns = [], []

    async def handler(request):
        return web.Response(text=str(len(await request.read())))

    async def count_turns():
        while True:
            await turn()
            Recorder.turns.append(None)

    counting = asyncio.create_task(count_turns())
    server = web.Server(handler)
    listening = await loop.create_server(lambda: Recorder(server, loop=loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    counting.cancel()
    listening.close()
    await server.shutdown()
    return int(answer.rpartition(b"\r\n\r\n")[2]), Recorder.seen


async def test_tiny_things_take_a_turn_for_each_piece():
    """However much of them the system hands over at once."""
    length, seen = await received(HEAD + BODY + END)

    turns = [turn for turn, _ in seen]
    assert length == 50_000
    assert max(size for _, size in seen) <= _PIECE_BYTES
    assert len(set(turns)) == len(turns) > len(BODY) // _PIECE_BYTES


async def test_what_is_little_work_is_parsed_at_once():
    """A large piece of a body costs one turn, as ever."""
    chunk = b"a" * 1_000_000

    length, seen = await received(HEAD + b"%x\r\n%b\r\n" % (len(chunk), chunk) + END)

    assert length == len(chunk)
    assert max(size for _, size in seen) > 4 * _PIECE_BYTES


@pytest.mark.parametrize("how", ["at once", "in chunks"])
async def test_bytes_come_whole_and_in_order(gateway, how):
    """Also those that look like tiny things and are the lines of a file."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    tail = b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nevals\r\n--b--\r\n'

    async def form():
        yield head
        for at in range(0, len(LINES), 50_000):
            yield LINES[at : at + 50_000]
        yield tail

    answer = await gateway.call(
        "POST",
        "/v1/files",
        data=form() if how == "in chunks" else head + LINES + tail,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    content = await gateway.call("GET", f"/v1/files/{answer.json['id']}/content")
    assert content.body == LINES


async def test_a_client_that_leaves_takes_its_rest_along(gateway):
    """Nothing is parsed for nobody."""
    _, writer = await asyncio.open_connection(*gateway.address)
    head = HEAD.replace(b"POST /", b"POST /v1/files")
    writer.write(
        head.replace(b"Host", b"Content-Type: multipart/form-data; boundary=b\r\nHost") + BODY
    )
    await writer.drain()
    writer.transport.abort()

    answer = await gateway.call("GET", "/health")

    assert answer.status == 200
    assert gateway.stored() == []
