"""What other hosts' names and other sites' pages may do at real nginx, and what it logs about them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

EVIL = "https://evil.test"


async def host(proxy, name, path="/v1/models"):
    async with proxy.client.get(proxy.url + path, headers={"Host": name}) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "127.0.0.1:8000",
        "10.1.2.3",
        "[::1]:8000",
        "nginx:8000",
    ],
)
async def test_names_and_addresses_of_ours_are_known(backends, start_proxy, name):
    """As at the gateway."""
    proxy = await start_proxy(backends[:1], hosts=["nginx"])

    assert (await host(proxy, name))[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.test",
        "evil.test:8000",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "nginx",
        "x" * 300,
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/nginx-health"])
async def test_any_other_host_is_refused(backends, start_proxy, name, path):
    """In OpenAI's form; no server is asked."""
    proxy = await start_proxy(backends[:1])

    status, body = await host(proxy, name, path)

    assert status == 421
    assert body["error"]["code"] == "unknown_host"
    assert "BATCHLINE_ALLOWED_HOSTS" in body["error"]["message"]
    assert not backends[0].headers


async def test_a_star_takes_every_name(backends, start_proxy):
    """As the setting says."""
    proxy = await start_proxy(backends[:1], hosts=["*"])

    assert (await host(proxy, "evil.test"))[0] == 200


async def said(proxy, sent):
    """Send bytes; return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    writer.write(sent)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer


async def test_http_1_0_without_a_host_is_answered(backends, start_proxy):
    """Every browser sends one."""
    proxy = await start_proxy(backends[:1])

    assert b" 200 " in await said(proxy, b"GET /nginx-health HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("version", ["", " HTTP/0.9", " HTTP/1.2", " HTTP/2.0", " HTTP/9.9"])
async def test_other_versions_of_http_reach_no_server(backends, start_proxy, version):
    """HTTP/0.9 has no status line: the body alone says so."""
    proxy = await start_proxy(backends[:1])

    answer = await said(
        proxy, f"GET /v1/models{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )

    assert b" 200 " not in answer
    assert not backends[0].headers


FOREIGN = {
    "another site": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "an old browser": {"Origin": EVIL},
    "no origin": {"Sec-Fetch-Site": "cross-site"},
    "another port": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    "a sandbox": {"Origin": "null"},
    "a longer name": {"Origin": "{own}.evil.test"},
    "a host as a pattern": {"Origin": "http://127x0x0x1:1", "Host": "127.0.0.1:1"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_page_uses_no_server(backends, start_proxy, headers):
    """It would burn the GPU, and vLLM asks nobody where a request comes from."""
    proxy = await start_proxy(backends[:1])

    given = {name: value.format(own=proxy.url) for name, value in headers.items()}
    answer = await proxy.post(headers=given)

    assert answer.status == 403
    assert (await answer.json())["error"]["code"] == "foreign_origin"
    assert not backends[0].headers


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
)
async def test_programs_and_its_own_pages_pass(backends, start_proxy, headers):
    """VLLM's own documentation page, for one."""
    proxy = await start_proxy(backends[:1])

    answer = await proxy.post(
        headers={name: value.format(own=proxy.url) for name, value in headers.items()}
    )

    assert answer.status == 200


async def test_no_page_is_let_read_what_vllm_would_let_it(backends, start_proxy):
    """VLLM answers with `Access-Control-Allow-Origin: *`."""
    proxy = await start_proxy(backends[:1])

    async def open_to_all(request, body):
        return web.json_response({}, headers={"Access-Control-Allow-Origin": "*", "X-Kept": "1"})

    backends[0].script = open_to_all

    async with proxy.client.get(f"{proxy.url}/v1/models", headers={"Origin": EVIL}) as answer:
        assert answer.headers["X-Kept"] == "1"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_requests_that_fail_or_are_malformed_fill_no_log(backends, start_proxy, tmp_path):
    """Nginx would write a line for each, up to 2 KB long, as fast as they come."""
    await backends[0].stop()
    proxy = await start_proxy(backends[:1])
    before = (tmp_path / "error.log").stat().st_size
    port = int(proxy.url.rpartition(":")[2])

    for _ in range(100):
        assert (
            await proxy.client.post(f"{proxy.url}/v1/score?{'a' * 1000}", data=b"{}")
        ).status == 502
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a" * 8000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()

    assert (tmp_path / "error.log").stat().st_size - before < 2000
