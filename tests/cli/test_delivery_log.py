"""`batchline deliveries` and `redeliver`: what is sent, what is written where."""

from __future__ import annotations

import json

import pytest
from scripted_api import Script
from scripted_webhooks import delivery_object, with_webhooks


@pytest.fixture
def api(serve_app):
    """A running scripted server that knows deliveries."""
    script = Script()
    script.url = serve_app(with_webhooks(script))
    return script


def test_deliveries_are_a_table(batchline, api):
    """The last made first, states in words, of the receiver only its host, of a handler how far it came."""
    for number, fields in enumerate(
        (
            {},
            {"state": "delivered", "attempts": 2, "next_attempt_at": None},
            {"state": "given_up", "attempts": 48, "last_error": "It answered 503."},
            {"url": None, "handler": "reviews", "lines_done": 1500, "lines_total": 2000},
        ),
        1,
    ):
        api.deliveries[f"dlv_{number}"] = delivery_object(number, **fields)

    header, *rows = batchline("deliveries").stdout.splitlines()

    assert header.split()[:6] == ["DELIVERY", "EVENT", "BATCH", "RECEIVER", "STATE", "LINES"]
    assert [row.split()[0] for row in rows] == ["dlv_4", "dlv_3", "dlv_2", "dlv_1"]
    handled, *rows = rows
    assert "  handler reviews " in handled
    assert "  1,500 of 2,000  " in handled
    assert "✗ given up" in rows[0]
    assert rows[0].endswith("It answered 503.")
    assert "✓ delivered" in rows[1]
    assert "◎ pending" in rows[2]
    assert all("hooks.example.com  " in row and "hidden" not in row for row in rows)


def test_deliveries_of_one_endpoint_or_one_batch(batchline, api):
    """A batch is named as everywhere; both at once are refused."""
    batch_id = api.add(1, metadata={"name": "nightly"})

    batchline("deliveries")
    batchline("deliveries", "--endpoint", "we_7")
    batchline("deliveries", "--batch", "nightly")
    both = batchline("deliveries", "--endpoint", "we_7", "--batch", "nightly")

    assert api.asked == [
        "/v1/deliveries",
        "/v1/webhook_endpoints/we_7/deliveries",
        f"/v1/batches/{batch_id}/deliveries",
    ]
    assert both.exit_code == 2


def test_deliveries_are_limited(batchline, api):
    """It says that there are more, and asks for no more pages than it needs."""
    for number in range(1, 251):
        api.deliveries[f"dlv_{number}"] = delivery_object(number)

    few = batchline("deliveries", "-n", "3")
    many = batchline("deliveries", "-n", "150", "--json")

    assert len(few.stdout.splitlines()) == 4
    assert "There are more" in few.stderr
    assert [d["id"] for d in json.loads(many.stdout)] == [f"dlv_{n}" for n in range(250, 100, -1)]
    assert len(api.asked) == 3


def test_redeliver_delivers_once_more(batchline, api):
    """The same delivery; one that is not there is exit 2."""
    api.deliveries["dlv_1"] = delivery_object(1, state="given_up", attempts=48)

    done = batchline("redeliver", "dlv_1")
    unknown = batchline("redeliver", "dlv_2")
    no_id = batchline("redeliver", "../files")

    assert (done.exit_code, done.stdout) == (0, "dlv_1  ◎ pending\n")
    assert api.deliveries["dlv_1"]["state"] == "pending"
    assert (unknown.exit_code, no_id.exit_code) == (2, 2)
    assert "dlv_2" in unknown.stderr


@pytest.mark.parametrize(
    "fields",
    [{"state": "paused\x1b[2J"}, {"url": "http://[", "event": None, "attempts": "many"}],
    ids=["unknown state", "other kinds"],
)
def test_deliveries_of_another_version_are_shown(batchline, api, fields):
    """As far as they are understood, and inert."""
    api.deliveries["dlv_1"] = delivery_object(1, **fields)

    done = batchline("deliveries")

    assert done.exit_code == 0, done.stderr
    assert "dlv_1" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_is_no_delivery_is_refused(batchline, api):
    """The server is another one."""
    api.deliveries["dlv_1"] = {"id": 7}

    assert batchline("deliveries").exit_code == 4
