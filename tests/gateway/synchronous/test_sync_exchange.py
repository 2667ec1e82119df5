"""When a busy server is asked again."""

from __future__ import annotations

import pytest

from gateway.synchronous.exchange import Reply, wait_s

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "retry_after", "waits_s"),
    [
        (429, "7", 7.0),
        (503, "7", 7.0),
        (503, "Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        (429, "0", 0.5),
        (429, "-3", 0.5),
        (429, None, None),
        (429, "soon", None),
        (429, "nan", None),
        (429, "60", None),
        (500, "7", None),
        (200, "7", None),
    ],
)
def test_a_busy_server_is_waited_for_as_long_as_it_says(status, retry_after, waits_s):
    """If that is within the time that is left, and never without a pause."""
    reply = Reply(status, b"{}", retry_after)

    assert wait_s(reply, now=NOW, left_s=60.0) == waits_s
