"""The dispatcher's own port: who is answered there, and what is logged about those who are not."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from ports import free_port

from batchline.metrics import Metrics
from batchline.serving.identity import Part
from batchline.serving.ops import serve_ops
from batchline.serving.request_log import LINE_BYTES, LINES_A_SECOND, bounded_request_log
from batchline.settings import Settings


@pytest.fixture
async def port():
    """A served port."""
    settings = Settings(
        _env_file=None, dispatcher_port=free_port(), allowed_hosts="dispatcher", host="127.0.0.1"
    )
    async with serve_ops(Part.DISPATCHER, settings, Metrics()):
        yield settings.dispatcher_port


async def get(port, path, host):
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}) as answer,
    ):
        return answer, await answer.text()


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize("host", ["localhost:5001", "127.0.0.1:5001", "[::1]", "dispatcher:5001"])
async def test_hosts_of_ours_are_answered(port, path, host):
    """Prometheus asks by the name of the service."""
    answer, _ = await get(port, path, host)

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nope"])
async def test_any_other_host_is_refused(port, path):
    """No page reads the figures by DNS rebinding."""
    answer, text = await get(port, path, "evil.test:5001")

    assert answer.status == 421
    assert "BATCHLINE_ALLOWED_HOSTS" in text


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/health", "localhost"),
        ("/metrics", "localhost"),
        ("/nope", "localhost"),
        ("/", "evil.test"),
    ],
)
async def test_every_answer_is_protected(port, path, host):
    """Errors too."""
    answer, _ = await get(port, path, host)

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


async def status_of(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(60):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("version", ["", " HTTP/0.9", " HTTP/2.0"])
async def test_other_versions_of_http_are_refused(port, version):
    """As at the gateway."""
    assert await status_of(port, f"GET /health{version}\r\nHost: localhost\r\n\r\n".encode()) == 400


async def test_malformed_requests_write_ten_short_lines_a_second(port, caplog):
    """Aiohttp would write a traceback for each, with what was sent."""
    counted = []
    async with bounded_request_log(lambda: counted.append(1), clock=lambda: 0.0):
        for _ in range(40):
            sent = b"GET /\x1b HTTP/1.1\r\nHost: localhost\r\nX: " + b"\x1b" * 8000 + b"\r\n\r\n"
            assert await status_of(port, sent) == 400

        lines = [caplog.handler.format(record) for record in caplog.records]

    assert len(lines) == LINES_A_SECOND
    assert len(counted) == 40 - LINES_A_SECOND
    assert all(len(line) < LINE_BYTES for line in lines)
    assert all("Error handling request" in line for line in lines)
