"""`batchline webhooks`: what is sent, what is written where."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from scripted_api import Script
from scripted_webhooks import delivery_object, with_webhooks

URL = "https://hooks.example.com/batch"
EVERY = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]


@pytest.fixture
def api(serve_app):
    """A running scripted server that knows webhooks."""
    script = Script()
    script.url = serve_app(with_webhooks(script))
    return script


def test_a_secret_is_made_here(batchline, api):
    """One of Standard Webhooks' form, another each time; no server is asked, and it alone is data."""
    first, second = batchline("webhooks", "secret").stdout, batchline("webhooks", "secret").stdout

    assert first != second
    assert first.startswith("whsec_")
    assert len(b64decode(first.strip().removeprefix("whsec_"), validate=True)) == 32
    assert api.requests == []


def test_add_writes_the_secret_and_nothing_else_to_stdout(batchline, api):
    """So that a script can keep it; the id is on the other stream, and in `ls`."""
    done = batchline("webhooks", "add", "ci", URL)

    assert done.exit_code == 0, done.stderr
    assert done.stdout == "whsec_first1\n"
    assert "we_1" in done.stderr
    assert "not shown again" in done.stderr
    assert {k: api.endpoints["we_1"][k] for k in ("name", "url", "event_types")} == {
        "name": "ci",
        "url": URL,
        "event_types": EVERY,
    }


def test_add_takes_the_events_that_are_wanted(batchline, api):
    """Another word is refused before anything is sent."""
    batchline("webhooks", "add", "ci", URL, "--event", "batch.failed", "--event", "batch.expired")
    refused = batchline("webhooks", "add", "ci", URL, "--event", "batch.created")

    assert api.endpoints["we_1"]["event_types"] == ["batch.failed", "batch.expired"]
    assert (refused.exit_code, len(api.endpoints)) == (2, 1)


def test_add_as_json_is_the_servers_object(batchline, api):
    """With the secret in it."""
    done = batchline("webhooks", "add", "ci", URL, "--json")

    assert json.loads(done.stdout) == api.endpoints["we_1"] | {"signing_secret": "whsec_first1"}


def test_ls_lists_every_endpoint(batchline, api):
    """Page after page, newest first; of the secret only its end."""
    for number in range(101):
        batchline("webhooks", "add", f"ci-{number}", URL)
    batchline("webhooks", "add", "few", URL, "--event", "batch.failed")

    header, newest, *others = batchline("webhooks", "ls").stdout.splitlines()

    assert header.split() == ["ENDPOINT", "NAME", "URL", "EVENTS", "SECRET", "CREATED"]
    assert newest.split()[:5] == ["we_102", "few", URL, "batch.failed", "whsec_…102"]
    assert len(others) == 101
    assert others[0].split()[3] == "all"


def test_ls_is_empty_without_endpoints(batchline):
    """Nothing on standard output; what to do next on the other."""
    done = batchline("webhooks", "ls")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "batchline webhooks add" in done.stderr
    assert batchline("webhooks", "ls", "--json").stdout == "[]\n"


def test_rm_asks_and_deletes(batchline, api):
    """Without a terminal it needs --yes, and says what would go."""
    batchline("webhooks", "add", "ci", URL)

    asked = batchline("webhooks", "rm", "we_1")
    assert (asked.exit_code, list(api.endpoints)) == (2, ["we_1"])
    assert URL in asked.stderr

    done = batchline("webhooks", "rm", "we_1", "--yes")
    assert (done.exit_code, done.stdout, api.endpoints) == (0, "we_1  deleted\n", {})


@pytest.mark.parametrize("keep", [True, False], ids=["old one kept", "old one gone"])
def test_rotate_writes_the_new_secret(batchline, api, keep):
    """And says whether the old one still signs."""
    batchline("webhooks", "add", "ci", URL)

    done = batchline("webhooks", "rotate", "we_1", *(["--keep-old"] if keep else []))

    assert (done.exit_code, done.stdout) == (0, "whsec_second\n")
    assert api.rotations == [{"keep_old_secret_active_for_24_hours": keep}]
    assert ("24 hours" in done.stderr) is keep


def test_a_test_says_what_the_receiver_answered(batchline, api):
    """Exit 1 where it did not take the event, so that a script notices."""
    batchline("webhooks", "add", "ci", URL)

    taken = batchline("webhooks", "test", "we_1", "--event", "batch.failed")
    api.receiver = 302
    refused = batchline("webhooks", "test", "we_1")

    assert (taken.exit_code, taken.stdout) == (0, "we_1  ✓ took batch.failed (204)\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "302" in refused.stderr


def test_deliveries_are_a_table(batchline, api):
    """The last made first, states in words, and of the receiver only its host."""
    for number, fields in enumerate(
        (
            {},
            {"state": "delivered", "attempts": 2, "next_attempt_at": None},
            {"state": "given_up", "attempts": 48, "last_error": "It answered 503."},
        ),
        1,
    ):
        api.deliveries[f"dlv_{number}"] = delivery_object(number, **fields)

    header, *rows = batchline("webhooks", "deliveries").stdout.splitlines()

    assert header.split()[:5] == ["DELIVERY", "EVENT", "BATCH", "RECEIVER", "STATE"]
    assert [row.split()[0] for row in rows] == ["dlv_3", "dlv_2", "dlv_1"]
    assert "✗ given up" in rows[0]
    assert rows[0].endswith("It answered 503.")
    assert "✓ delivered" in rows[1]
    assert "◎ pending" in rows[2]
    assert all("hooks.example.com  " in row and "hidden" not in row for row in rows)


def test_deliveries_of_one_endpoint_or_one_batch(batchline, api):
    """A batch is named as everywhere; both at once are refused."""
    batch_id = api.add(1, metadata={"name": "nightly"})

    batchline("webhooks", "deliveries")
    batchline("webhooks", "deliveries", "--endpoint", "we_7")
    batchline("webhooks", "deliveries", "--batch", "nightly")
    both = batchline("webhooks", "deliveries", "--endpoint", "we_7", "--batch", "nightly")

    assert api.asked == [
        "/v1/webhook_deliveries",
        "/v1/webhook_endpoints/we_7/deliveries",
        f"/v1/batches/{batch_id}/deliveries",
    ]
    assert both.exit_code == 2


def test_deliveries_are_limited(batchline, api):
    """It says that there are more, and asks for no more pages than it needs."""
    for number in range(1, 251):
        api.deliveries[f"dlv_{number}"] = delivery_object(number)

    few = batchline("webhooks", "deliveries", "-n", "3")
    many = batchline("webhooks", "deliveries", "-n", "150", "--json")

    assert len(few.stdout.splitlines()) == 4
    assert "There are more" in few.stderr
    assert [d["id"] for d in json.loads(many.stdout)] == [f"dlv_{n}" for n in range(250, 100, -1)]
    assert len(api.asked) == 3


def test_replay_delivers_once_more(batchline, api):
    """The same delivery; one that is not there is exit 2."""
    api.deliveries["dlv_1"] = delivery_object(1, state="given_up", attempts=48)

    done = batchline("webhooks", "replay", "dlv_1")
    unknown = batchline("webhooks", "replay", "dlv_2")
    no_id = batchline("webhooks", "replay", "../files")

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

    done = batchline("webhooks", "deliveries")

    assert done.exit_code == 0, done.stderr
    assert "dlv_1" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_is_no_delivery_is_refused(batchline, api):
    """The server is another one."""
    api.deliveries["dlv_1"] = {"id": 7}

    assert batchline("webhooks", "deliveries").exit_code == 4


@pytest.mark.parametrize(
    "command", ["add", "ls", "rm", "rotate", "test", "deliveries", "replay", "secret"]
)
def test_every_command_is_listed_has_help_and_is_documented(batchline, command):
    """`batchline webhooks` alone lists them."""
    from scripted_api import ROOT

    done = batchline("webhooks", command, "--help")

    assert done.exit_code == 0
    assert f" webhooks {command} [OPTIONS]" in done.output
    assert f"  {command} " in batchline("webhooks", "--help").stdout
    assert f"webhooks {command}" in (ROOT / "docs/cli.md").read_text("utf-8")
