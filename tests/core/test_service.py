"""Services: the first signal drains, the second ends, errors become exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys
from batchline.errors import Invalid
from batchline.process.service import run_service, set_up_logging
set_up_logging("INFO", as_json={json})
async def serve(stop):
    {body}
sys.exit(run_service(serve))
"""
WAITS = "print('up', flush=True); await stop.wait(); print('drained', flush=True)"
HANGS = WAITS + "; await asyncio.Event().wait()"


def start(body, *, json=False):
    code = SCRIPT.format(body=body, json=json)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_stop_event_and_the_exit_is_clean(number):
    """Both signals mean: finish and leave."""
    process = start(WAITS)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)

    assert process.communicate(timeout=30)[0] == "drained\n"
    assert process.returncode == 0


def test_the_second_signal_ends_it_at_once():
    """Who asks twice does not want to wait."""
    process = start(HANGS)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "drained\n"
    process.send_signal(signal.SIGTERM)

    process.communicate(timeout=30)
    assert process.returncode == 130


def test_the_death_of_a_parent_with_many_threads_is_one_signal():
    """The kernel sends it for each thread; what is in flight is finished all the same."""
    child = SCRIPT.format(
        body=WAITS + "; await asyncio.to_thread(input); print('whole', flush=True)", json=False
    )
    parent = f"""
import signal, subprocess, sys, threading
from batchline.process.service import die_with_parent
for _ in range(50):
    threading.Thread(target=signal.pause, daemon=True).start()
subprocess.Popen(
    [sys.executable, "-c", {child!r}], preexec_fn=lambda: die_with_parent(signal.SIGTERM)
)
signal.pause()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait(30)  # all its threads are gone then, and the signals sent
    assert process.stdout.readline() == "drained\n"

    assert process.communicate("\n", timeout=30)[0] == "whole\n"


def test_a_domain_error_is_told_without_a_traceback():
    """Exit code 1 and one line."""
    process = start("raise Invalid('Set X to Y.')")

    _, said = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "Set X to Y." in said
    assert "Traceback" not in said


def test_log_lines_can_be_json():
    """One object a line."""
    import json

    process = start("raise Invalid('No.')", json=True)

    line = process.communicate(timeout=30)[1].splitlines()[-1]

    assert json.loads(line)["level"] == "error"


def test_a_low_limit_of_open_files_is_raised():
    """A connection for each request in flight must not run into the shell's default."""
    limits = "resource.getrlimit(resource.RLIMIT_NOFILE)"
    lower = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, {limits}[1]))"
    code = SCRIPT.format(body=f"import resource; print(*{limits})", json=False)

    done = subprocess.run(
        [sys.executable, "-c", f"{lower}\n{code}"], capture_output=True, text=True, timeout=30
    )

    soft, hard = map(int, done.stdout.split())
    assert soft == (65_536 if hard == -1 else min(hard - 8, 65_536))
