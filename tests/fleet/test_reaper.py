"""The process that outlives the supervisor."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from batchline.fleet import reaper


def test_groups_that_ended_are_forgotten():
    """Their pids may belong to somebody else by now."""
    lines = ["+10\n", "+20\n", "-10\n", "+30\n", "=30\n", "-99\n"]

    assert reaper.follow(lines) == {20: False, 30: True}


@pytest.mark.parametrize(
    ("sign", "loading_s", "ready_s"), [("+", "0", "600"), ("+", "0.5", "600"), ("=", "600", "0.5")]
)
def test_what_is_still_listed_is_ended_when_its_time_is_over(sign, loading_s, ready_s):
    """End of input means that the supervisor is gone. What still loads has a time of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, loading_s, ready_s],
        stdin=subprocess.PIPE,
        text=True,
    )

    process.stdin.write(f"{sign}{child.pid}\n")
    process.stdin.close()
    # Reaped here, so that the reaper sees it go.
    assert child.wait(timeout=30) == -signal.SIGKILL
    assert process.wait(timeout=60) == 0


def test_nothing_listed_means_nothing_to_do():
    """The normal end: the supervisor has stopped everything itself."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", reaper.__file__, "60", "60"],
        input="+1234567\n-1234567\n",
        text=True,
        timeout=30,
    )

    assert done.returncode == 0
