"""Following a batch: to its end, through outages, on every kind of output."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess

import pytest
from scripted_api import completed, running

from batchline.cli.api.client import Client
from batchline.cli.batches.watch import follow
from batchline.cli.batches.watch_screens import PlainScreen
from batchline.cli.failure import Failure


def test_watch_ends_by_itself_with_a_final_line(batchline, api):
    """The last line says what became of the batch."""
    api.add(then=[running(1), running(3), completed(failed=1)], metadata={"name": "nightly"})

    done = batchline("watch", "nightly", "--interval", "0.1")

    assert done.exit_code == 0, done.stderr
    assert "nightly  ✓ completed  3 of 4 lines  1 failed" in done.stdout.splitlines()[-1]
    assert "--errors" in done.stderr


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (completed(), 0),
        (completed(failed=1), 3),
        ({"status": "failed"}, 1),
        ({"status": "expired"}, 1),
        ({"status": "cancelled"}, 1),
    ],
    ids=lambda v: v["status"] if isinstance(v, dict) else str(v),
)
def test_the_exit_code_tells_how_it_ended(batchline, api, end, code):
    """0 fine, 1 the batch did not complete, 3 it completed with failed lines."""
    api.add(then=[end])

    assert batchline("watch", "--wait", "--fail-on-errors").exit_code == code


def test_a_pipe_gets_a_line_at_each_change_of_status(batchline, api):
    """Between those, one every 30 seconds: logs stay short."""
    looks = [running(n, 50) for n in range(1, 20)]
    api.add(then=[*looks, completed(50)])

    done = batchline("watch", "--interval", "0.1")

    rows = done.stdout.splitlines()
    assert len(rows) < 10
    assert "◎ validating" in rows[0] or "▶ running" in rows[0]
    assert "\x1b" not in done.stdout


def test_watch_tells_at_once_that_most_lines_fail_and_why_it_paused(batchline, api):
    """A line each, however short ago the last one was."""
    fault = {"code": "most_requests_failed", "line": None, "message": "51 failed.", "param": None}
    failing = running(100, 400, 60, failing="Most lines fail: 400: too long")
    paused = {"paused_at": 1_800_000_050, "errors": {"object": "list", "data": [fault]}}
    api.add(then=[running(1, 400), failing, failing, paused, completed(400) | {"paused_at": None}])

    rows = batchline("watch", "--interval", "0.1").stdout.splitlines()

    told = [row.partition("  ! ")[2] for row in rows if "  ! " in row]
    assert told == ["Most lines fail: 400: too long", "51 failed."]


def test_watch_json_writes_one_object_a_line_when_something_changed(batchline, api):
    """NDJSON: the batch object with rates; looks that saw nothing new are left out."""
    api.add(then=[running(1), {}, {}, completed()])

    done = batchline("watch", "--json", "--interval", "0.1")

    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["status"] for r in rows] == ["validating", "in_progress", "completed"]
    assert {"lines_per_second", "tokens_per_second", "seconds_left"} <= rows[0].keys()


def test_watch_rides_over_an_outage(batchline, api):
    """A gateway that restarts under the watcher costs nothing but a remark."""
    batch_id = api.add(then=[running(1)])

    class Outage(list):
        def pop(self, *args):
            if len(self) == 1:
                api.outages = 3
            return super().pop(*args)

    api.next_states[batch_id] = Outage([running(1), running(2), completed()])

    done = batchline("watch", batch_id, "--interval", "0.1")

    assert done.exit_code == 0, done.stderr


def test_watch_gives_up_when_its_patience_ends(api):
    """Who waits must hear in the end that nobody answers."""
    batch_id = api.add(**running(1))
    with Client(api.url) as client:
        batch = client.batch(batch_id)
        api.outages = 1_000_000

        with pytest.raises(Failure) as caught:
            follow(client, batch, PlainScreen(io.StringIO()), interval_s=0.01, patience_s=0.05)

    assert caught.value.code == 4


def test_ctrl_c_leaves_the_batch_running_and_says_so(api, start_batchline):
    """130, and the command to come back."""
    batch_id = api.add(**running(1))
    process = start_batchline(
        "watch", batch_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "running" in process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "still running on the server" in err
    assert f"batchline watch {batch_id}" in err
    assert api.paths("POST") == []


def test_a_terminal_gets_a_live_frame_and_the_final_line(api, start_batchline):
    """The frame has bar and figures; hostile names cannot drive the terminal."""
    api.add(
        then=[running(1, 40), running(20, 40, failed=2), completed(40, failed=2)],
        metadata={"name": "evil\x1b]0;owned\x07\u202egnp"},
    )
    leader, follower = pty.openpty()
    process = start_batchline(
        "watch",
        "--interval",
        "0.1",
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={"TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    try:
        while chunk := os.read(leader, 65536):
            seen += chunk
    except OSError:  # the terminal is gone with the process
        pass
    os.close(leader)

    assert process.wait(60) == 0
    text = seen.decode()
    assert "█" in text
    assert "20 of 40" in text
    assert "✓ completed" in text.splitlines()[-1] or "✓ completed" in text
    assert "owned\x07" not in text
    assert "\u202e" not in text
