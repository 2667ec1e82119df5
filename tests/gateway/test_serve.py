"""The gateway as a process: start, stop, a taken port, memory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import signal
import socket
from pathlib import Path

import aiohttp
import psutil
import pytest
from ports import free_port
from running import gateway_process
from waiting import until

from batchline.errors import Unavailable
from batchline.settings import Settings
from gateway.app import serve

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'
MEGABYTES = LINE * 40_000
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
)
TAIL = b"\r\n--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
_PATIENCE_S = 60


async def test_a_taken_port_is_said_clearly(tmp_path):
    """The message names the address and the remedy, and everything opened is closed again."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        settings = Settings(data_dir=tmp_path, port=port)

        with pytest.raises(
            Unavailable, match=rf"Cannot listen on 127.0.0.1:{port}.*BATCHLINE_PORT"
        ):
            await serve(settings, asyncio.Event())


async def test_it_serves_the_api_and_the_dashboard_until_stopped(tmp_path):
    """All routes are there; after the stop the port is free and what was stored stays."""
    stop = asyncio.Event()
    port = free_port()
    settings = Settings(data_dir=tmp_path, port=port, grace_s=5)
    url = f"http://127.0.0.1:{port}"
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as http:
        tasks.create_task(serve(settings, stop))
        await answering(http, f"{url}/health")
        async with http.get(f"{url}/") as page:
            assert page.status == 200
        async with http.post(f"{url}/v1/files", data=HEAD + LINE + TAIL, headers=FORM) as answer:
            file = await answer.json()
        stop.set()

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert [p.name for p in stored(tmp_path)] == [file["id"]]


async def answering(http, url):
    async def status():
        async with http.get(url) as answer:
            return answer.status

    return await until(status, not_yet=aiohttp.ClientConnectionError)


async def test_sigterm_lets_running_requests_finish(tmp_path):
    """An upload that is half through is answered; nobody new gets in; the exit code is 0."""
    rest = asyncio.Event()

    async def slow_body():
        yield HEAD + MEGABYTES
        await rest.wait()
        yield LINE + TAIL

    async with gateway_process(tmp_path) as (process, url), aiohttp.ClientSession() as http:
        upload = asyncio.create_task(post(http, f"{url}/v1/files", slow_body()))
        await uploading(tmp_path)
        process.send_signal(signal.SIGTERM)
        await until(lambda: not any(c.status == "LISTEN" for c in connections(process)))
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as other, other.get(f"{url}/health"):
                pass

        rest.set()
        status, file = await upload

        assert (status, file["bytes"]) == (200, len(MEGABYTES) + len(LINE))
        async with asyncio.timeout(_PATIENCE_S):
            assert await process.wait() == 0


async def test_a_stop_waits_no_longer_than_its_grace(tmp_path):
    """A client that never ends its upload cannot keep the process, and leaves nothing."""

    async def endless_body():
        yield HEAD + MEGABYTES
        await asyncio.Event().wait()

    async with (
        gateway_process(tmp_path, grace_s=0.2) as (process, url),
        aiohttp.ClientSession() as http,
    ):
        upload = asyncio.create_task(post(http, f"{url}/v1/files", endless_body()))
        await uploading(tmp_path)
        process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(_PATIENCE_S):
            assert await process.wait() == 0
        with pytest.raises(aiohttp.ClientError):
            await upload

    assert stored(tmp_path) == []


async def uploading(folder):
    """Wait until bytes of the upload have reached the disk."""
    await until(lambda: stored(folder))


def stored(folder):
    return [p for p in folder.joinpath("blobs").rglob("*") if p.is_file()]


async def post(http, url, body):
    async with http.post(url, data=body, headers=FORM) as answer:
        return answer.status, await answer.json()


def connections(process):
    return psutil.Process(process.pid).net_connections("tcp")


MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "unknown method": b"FOO /v1/files HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless URL": b"GET /v1/files?after=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    "broken chunks": b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.spec("1-error-not-http")
@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_requests_get_the_error_object(gateway, request_bytes):
    """What never reaches a handler is answered with OpenAI's error object all the same."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    writer.write(request_bytes)

    async with asyncio.timeout(_PATIENCE_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()

    assert b" 400 " in head.split(b"\r\n")[0]
    assert b"content-type: application/json" in head.lower()
    assert b"x-request-id: req_" in head.lower()
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert error["message"]


@pytest.mark.spec("2.2-streamed")
async def test_large_files_pass_in_constant_memory(tmp_path):
    """100 MB up and down, twice at the same time, stay below 150 MB resident."""
    chunk = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}\n' * 15_000
    count = 105_000_000 // len(chunk) + 1

    async def body():
        yield HEAD
        for _ in range(count):
            yield chunk
        yield TAIL

    async def there_and_back(http, url):
        status, file = await post(http, f"{url}/v1/files", body())
        assert (status, file["bytes"]) == (200, count * len(chunk))
        async with http.get(f"{url}/v1/files/{file['id']}/content") as answer:
            size = sum([len(piece) async for piece in answer.content.iter_any()])
        assert size == file["bytes"]

    async with gateway_process(tmp_path) as (process, url), aiohttp.ClientSession() as http:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(there_and_back(http, url))
            tasks.create_task(there_and_back(http, url))
        peak_kib = int(re.search(r"VmHWM:\s+(\d+)", status_of(process))[1])

    assert peak_kib * 1024 < 150_000_000


async def test_packed_and_joined_files_pass_in_constant_memory(tmp_path):
    """100 MB out of a small gzip, and 100 MB in two parts, stay below 150 MB resident."""
    part = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}\n' * 750_000
    packed = gzip.compress(part, 1) * 2
    data = HEAD.replace(b'name="file"', b'name="data"')
    fields = {"filename": "a", "purpose": "batch", "bytes": 2 * len(part), "mime_type": "any"}

    async def unpacked(http, url):
        form = HEAD.replace(b'.jsonl"', b'.jsonl.gz"') + packed + TAIL
        return (await post(http, f"{url}/v1/files", form))[1]

    async def joined(http, url):
        async with http.post(f"{url}/v1/uploads", json=fields) as answer:
            upload = f"{url}/v1/uploads/{(await answer.json())['id']}"
        sent = [await post(http, f"{upload}/parts", data + part + TAIL) for _ in range(2)]
        wanted = {"part_ids": [answer["id"] for _, answer in sent], "md5": md5(part * 2)}
        async with http.post(f"{upload}/complete", json=wanted) as answer:
            return (await answer.json())["file"]

    async with gateway_process(tmp_path) as (process, url), aiohttp.ClientSession() as http:
        files = await asyncio.gather(unpacked(http, url), joined(http, url))
        peak_kib = int(re.search(r"VmHWM:\s+(\d+)", status_of(process))[1])

    assert [file["bytes"] for file in files] == [2 * len(part)] * 2
    assert peak_kib * 1024 < 150_000_000


def md5(content):
    return hashlib.md5(content).hexdigest()


def status_of(process):
    return Path(f"/proc/{process.pid}/status").read_text()
