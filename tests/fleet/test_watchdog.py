"""The process that outlives the supervisor."""

from __future__ import annotations

import subprocess
import sys

from batchline.fleet import watchdog


def test_groups_that_ended_are_forgotten():
    """Their pids may belong to somebody else by now."""
    assert watchdog.follow(["+10\n", "+20\n", "-10\n", "+30\n", "-99\n"]) == {20, 30}


def test_what_is_still_listed_is_ended():
    """End of input means that the supervisor is gone."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__], stdin=subprocess.PIPE, text=True
    )

    process.stdin.write(f"+{child.pid}\n")
    process.stdin.close()
    child.wait(timeout=30)  # reaped here, so that the watchdog sees it go

    assert process.wait(timeout=60) == 0


def test_nothing_listed_means_nothing_to_do():
    """The normal end: the supervisor has stopped everything itself."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", watchdog.__file__],
        input="+1234567\n-1234567\n",
        text=True,
        timeout=30,
    )

    assert done.returncode == 0
