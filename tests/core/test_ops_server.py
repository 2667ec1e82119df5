"""The port of a process without an API: who is answered there, and what is logged about those who are not."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from ports import free_port

from batchline.errors import Invalid
from batchline.metrics import Metrics
from batchline.serving.identity import Part
from batchline.serving.ops import serve_ops
from batchline.serving.origins import Access, Head, judge
from batchline.serving.request_log import LINE_BYTES, LINES_A_SECOND, bounded_request_log
from batchline.settings import Settings

NAMES = {Part.DISPATCHER: "dispatcher", Part.DELIVERER: "deliverer"}


def settings_for(part, **fields):
    """Settings by which a part serves a free port."""
    fields |= {NAMES[part] + "_port": free_port()}
    return Settings(_env_file=None, allowed_hosts=NAMES[part], host="127.0.0.1", **fields)


def port_of(part, settings):
    return getattr(settings, NAMES[part] + "_port")


@pytest.fixture(params=list(NAMES), ids=NAMES.values())
def part(request):
    """A process without an API."""
    return request.param


@pytest.fixture
async def port(part):
    """Its served port."""
    settings = settings_for(part)
    async with serve_ops(part, settings, Metrics()):
        yield port_of(part, settings)


async def get(port, path, host):
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}) as answer,
    ):
        return answer, await answer.text()


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize("host", ["localhost:5001", "127.0.0.1:5001", "[::1]", "service:5001"])
async def test_hosts_of_ours_are_answered(part, port, path, host):
    """Prometheus asks by the name of the service."""
    answer, _ = await get(port, path, host.replace("service", NAMES[part]))

    assert answer.status == 200


async def test_each_says_who_it_is(part, port):
    """Whoever asks the wrong port learns it."""
    _, text = await get(port, "/health", "localhost")

    assert json.loads(text)["service"] == part


async def test_a_port_that_is_taken_is_named_with_its_settings(part):
    """Both processes of one host come with ports of their own."""
    settings = settings_for(part)
    name = NAMES[part]
    async with serve_ops(part, settings, Metrics()):
        with pytest.raises(Invalid) as refused:
            async with serve_ops(part, settings, Metrics()):
                pass

    told = str(refused.value)
    assert told.startswith(f"The {name} cannot listen on 127.0.0.1:{port_of(part, settings)}: ")
    assert f"BATCHLINE_{name.upper()}_PORT" in told
    assert f"BATCHLINE_{name.upper()}_HOST" in told


def test_the_host_on_which_it_listens_is_one_of_ours(part):
    """No setting has to say so twice."""
    settings = settings_for(part, **{NAMES[part] + "_host": "box.example"})

    assert judge(Head("GET", hosts=("box.example:1",)), settings.known) is Access.GRANTED
    assert judge(Head("GET", hosts=("box.test:1",)), settings.known) is Access.UNKNOWN_HOST


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


async def test_without_metrics_it_is_alive_all_the_same(part):
    """`serve_metrics` is of every process."""
    settings = settings_for(part, serve_metrics=False)
    async with serve_ops(part, settings, Metrics()):
        answers = [
            (await get(port_of(part, settings), path, "localhost"))[0].status
            for path in ("/health", "/metrics")
        ]

    assert answers == [200, 404]


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
