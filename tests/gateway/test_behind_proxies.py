"""A gateway with a key behind the proxies of docs/deploy.md, whose samples are read from there: real Caddy, real nginx.

Through TLS and a name of the operator's everything works as without: the stock client, streams token by token,
signing in, live updates, changes by the dashboard's own pages and by no other's.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx
import openai
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from ports import free_port
from scripted import Scripted
from waiting import until

from batchline.fleet.nginx import find_nginx

ROOT = Path(__file__).parents[2]
NAME = "batch.example.org"
KEY = "sk-of-this-server"
BIG = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n' * 40_000


def sample(start):
    """Return the code block of the page that begins with this text."""
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    return next(
        block
        for block in re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)
        if block.startswith(start)
    )


def caddy(folder, gateway, port):
    """Put Caddy before the gateway, with a certificate of its own making."""
    ways = f"http_port {free_port()}\nhttps_port {port}\nstorage file_system {folder}/caddy"
    quiet = "admin off\nlocal_certs\nskip_install_trust\nauto_https disable_redirects"
    config = folder / "Caddyfile"
    block = sample(NAME).replace("127.0.0.1:5000", gateway.url.removeprefix("http://"))
    config.write_text(f"{{\n{ways}\n{quiet}\n}}\n{block}")
    return [shutil.which("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]


def nginx(folder, gateway, port):
    """Put nginx before the gateway, with a certificate of openssl's."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", f"/CN={NAME}", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    block = sample("location /").replace("127.0.0.1:5000", gateway.url.removeprefix("http://"))
    config = folder / "proxy.conf"
    config.write_text(
        f"daemon off;\npid {folder}/proxy.pid;\nerror_log {folder}/proxy.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}server {{\nlisten 127.0.0.1:{port} ssl;\n"
        f"server_name {NAME};\nssl_certificate {certificate};\nssl_certificate_key {key};\n"
        f"{block}\n}}\n}}\n"
    )
    return [find_nginx(), "-e", f"{folder}/proxy.log", "-c", str(config)]


class _OnThisHost(AbstractResolver):
    async def resolve(self, host, port=0, family=0):
        at = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [at | {"family": family, "proto": 0, "flags": 0}]

    async def close(self):
        pass


@asynccontextmanager
async def proxied(command):
    """Run the proxy; yield once it listens."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture(params=[caddy, nginx])
async def outside(request, starts, upstream, tmp_path):
    """A browser's view of the gateway: its address outside, and a session that finds it."""
    gateway = await starts(
        api_key=KEY, with_pages=True, allowed_hosts=NAME, upstream_url=upstream.url
    )
    folder = tmp_path / "proxy"
    folder.mkdir()
    port = free_port()
    async with (
        proxied(request.param(folder, gateway, port)) as process,
        aiohttp.ClientSession(
            f"https://{NAME}:{port}",
            connector=aiohttp.TCPConnector(ssl=False, resolver=_OnThisHost()),
        ) as http,
        asyncio.timeout(120),
    ):

        async def is_up():
            assert process.returncode is None, "the proxy refused its configuration"
            async with http.get("/health") as answer:
                return answer.status == 200

        await until(is_up, not_yet=aiohttp.ClientError)
        http.port, http.gateway = port, gateway
        yield http


def client(port):
    """Return the stock client, which finds the name on this host."""
    return openai.AsyncOpenAI(
        base_url=f"https://127.0.0.1:{port}/v1",
        api_key=KEY,
        max_retries=0,
        default_headers={"Host": f"{NAME}:{port}"},
        http_client=httpx.AsyncClient(verify=False, event_hooks={"request": [_by_name]}),
    )


async def _by_name(request):
    request.extensions["sni_hostname"] = NAME


async def test_everything_works_through_it(outside, upstream):
    """The stock client uploads, streams and downloads; a person signs in, watches and changes."""
    async with client(outside.port) as api:
        uploaded = await api.files.create(file=("big.jsonl", BIG), purpose="batch")
        assert (await api.files.content(uploaded.id)).content == BIG

        gate = asyncio.Event()

        async def answer(request):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"choices": [{"delta": {"content": "one"}}]}\n\n')
            await gate.wait()
            await response.write(b"data: [DONE]\n\n")
            return response

        upstream.script = lambda body, attempt: answer
        stream = await api.chat.completions.create(model="m", messages=[], stream=True)
        first = await anext(aiter(stream))
        assert first.choices[0].delta.content == "one"  # before the answer is over
        gate.set()
        assert [chunk async for chunk in stream] == []

    async with outside.get("/v1/files") as refused:
        assert refused.status == 401
    async with outside.post("/sign-in", data={"key": KEY}, allow_redirects=False) as signed_in:
        assert signed_in.status == 303
        assert "Secure" in signed_in.headers["Set-Cookie"].split("; ")
    async with outside.get("/") as page:
        token = re.search(r'name="csrf-token" content="([^"]+)"', await page.text())[1]
    async with outside.get("/ui/stream") as live:
        assert await live.content.readline()

    async def delete(origin):
        headers = {"Origin": origin, "x-csrf-token": token}
        async with outside.delete(f"/v1/files/{uploaded.id}", headers=headers) as answer:
            return answer.status

    assert await delete("https://evil.test") == 403
    assert await delete(f"https://{NAME}:{outside.port}") == 200
