"""The clock of a history: our processes follow it, or a jump of it would prove nothing."""

from __future__ import annotations

import json
import os
import time

import aiohttp
import pytest
from ports import free_port

from chaos.client import Client
from chaos.clock import WallClock, libfaketime
from chaos.crew import Kept, product

HOURS_S = 2 * 3600

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(libfaketime() is None, reason="libfaketime is not installed"),
]


async def test_a_process_of_ours_follows_the_clock_that_jumps(tmp_path):
    """While it runs, too."""
    clock, port = WallClock(tmp_path / "clock"), free_port()
    environment = os.environ | clock.environment()
    environment |= {"BATCHLINE_DATA_DIR": str(tmp_path / "data"), "BATCHLINE_PORT": str(port)}
    gateway = Kept(product("gateway", "gateway", environment, port, tmp_path / "log"), [])
    client = Client(f"http://127.0.0.1:{port}", [])

    gateway.start()
    await gateway.is_up.wait()
    clock.jump(HOURS_S)
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", b"{}\n", filename="lines.jsonl")
    _, text = await client.ask("POST", "/v1/files", data=form)
    await client.close()
    await gateway.stop()

    assert json.loads(text)["created_at"] >= time.time() + HOURS_S - 60
