"""The gateway as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager

from waiting import until

PROCESS = """
import resource
if {open_files}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({open_files}, {open_files}))
from batchline.process.service import run_service, set_up_logging
from batchline.settings import load_settings
from gateway.app import serve
set_up_logging()
raise SystemExit(run_service(lambda stop: serve(load_settings(), stop)))
"""


@asynccontextmanager
async def gateway_process(folder, *, open_files=0, **settings):
    """Run the gateway, with so many `open_files` allowed; yield the process and its address."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BATCHLINE_")}
    environment |= {"BATCHLINE_DATA_DIR": str(folder), "BATCHLINE_PORT": "0"}
    environment |= {f"BATCHLINE_{k.upper()}": str(v) for k, v in settings.items()}
    log = folder / "gateway.log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROCESS.format(open_files=open_files),
            env=environment,
            stderr=written,
        )
    try:
        address = await until_logged(log, r"listens on (http://\S+)")
        yield process, address
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_logged(log, pattern):
    """Wait until the log has what is looked for; return its first group."""
    found = await until(lambda: re.search(pattern, log.read_text()), saw=log.read_text)
    return found[1] if found.groups() else found[0]
