"""Real nginx on the rendered configuration, for tests."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
from ports import free_port
from waiting import until

from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx


@asynccontextmanager
async def running_nginx(servers, folder, **options):
    """Run nginx before the model servers, given as host:port; yield its address."""
    port = free_port()
    argv = nginx_command(servers, folder, port, **options)
    process = await asyncio.create_subprocess_exec(*argv)
    try:
        await _until_healthy(f"http://127.0.0.1:{port}/nginx-health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def behind_nginx(bench, folder, *urls):
    """Put nginx before these servers; yield the settings that name them."""
    folder.mkdir()
    async with running_nginx([url.removeprefix("http://") for url in urls], folder) as url:
        bench.upstream = SimpleNamespace(url=url)
        yield {"backend_urls": urls}


def nginx_command(servers, folder, port, **options):
    """Write its configuration into the folder; return the command that runs it on `port`."""
    config = folder / "nginx.conf"
    config.write_text(
        render_nginx(
            servers,
            listen=f"127.0.0.1:{port}",
            run_dir=str(folder),
            error_log=str(folder / "error.log"),
            foreground=True,
            user="root" if os.geteuid() == 0 else None,
            **options,
        )
    )
    return nginx_argv(find_nginx(), config, error_log=folder / "error.log")


async def _until_healthy(url: str, process) -> None:
    async with aiohttp.ClientSession() as client:

        async def is_healthy() -> bool:
            assert process.returncode is None, "nginx refused its configuration"
            async with client.get(url) as response:
                return response.status == 200

        await until(is_healthy, not_yet=aiohttp.ClientConnectionError)
