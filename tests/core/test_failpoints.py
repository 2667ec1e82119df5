"""Failpoints: read from text, happening when they are due, free otherwise."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchline.errors import Invalid, StoreUnavailable
from batchline.process.failpoints import POINTS, arm, failpoint, written

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def disarmed():
    yield
    arm("")


def test_an_error_happens_at_the_first_pass_only():
    """So that what is tried again succeeds."""
    arm("claim.read=error")

    with pytest.raises(StoreUnavailable, match=r"claim\.read"):
        failpoint("claim.read")
    failpoint("claim.read")
    failpoint("claim.leased")


def test_a_later_pass_can_be_named_and_every_pass():
    """@3 is the third, @* each."""
    arm("claim.read=error@3; claim.leased=error@*")

    failpoint("claim.read")
    failpoint("claim.read")
    for name in ("claim.read", "claim.leased", "claim.leased"):
        with pytest.raises(StoreUnavailable):
            failpoint(name)


def test_a_stall_takes_as_long_as_it_says():
    """The whole process stands still, as one that is stopped."""
    arm("send.before=sleep:0.05")
    began = time.monotonic()

    failpoint("send.before")

    assert time.monotonic() - began >= 0.05


def test_arming_anew_forgets_the_old():
    """Nothing is armed that the last text does not name."""
    arm("claim.read=error")
    arm("")

    failpoint("claim.read")


def test_bytes_pass_whole_unless_torn():
    """Half of them are written, then the process dies."""
    assert written("segment.append", b"12345678") == b"12345678"

    arm("segment.append=torn")

    assert written("segment.append", b"12345678") == b"1234"


def test_a_crash_is_like_kill_9():
    """No handler runs, nothing is flushed."""
    code = (
        "import atexit; atexit.register(print, 'handler')\n"
        "from batchline.process.failpoints import arm, failpoint\n"
        "arm('claim.read=crash'); failpoint('claim.read'); print('alive')"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stdout) == (-9, "")


@pytest.mark.parametrize(
    "text", ["nowhere=crash", "claim.read", "claim.read=explode", "claim.read=error@x", "=crash"]
)
def test_what_cannot_be_read_is_refused_with_the_points(text):
    """A misspelt point would prove nothing."""
    with pytest.raises(Invalid, match=r"segment\.append"):
        arm(text)


def test_each_point_lies_somewhere_and_only_once():
    """The table and the code name the same points."""
    found = [
        name
        for package in ("batchline", "gateway", "dispatcher", "deliver")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r'(?:failpoint|written)\("([a-z.]+)"', path.read_text())
    ]

    assert sorted(found) == sorted(POINTS)
