"""`batchline webhooks`: what is sent, what is written where."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from scripted_api import Script
from scripted_webhooks import with_webhooks

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
    batchline("webhooks", "add", "ci", URL)
    for number in range(2, 102):
        api.endpoints[f"we_{number}"] = api.endpoints["we_1"] | {"id": f"we_{number}"}
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


@pytest.mark.parametrize("command", ["add", "ls", "rm", "rotate", "test", "secret"])
def test_every_command_is_listed_has_help_and_is_documented(batchline, command):
    """`batchline webhooks` alone lists them."""
    from scripted_api import ROOT

    done = batchline("webhooks", command, "--help")

    assert done.exit_code == 0
    assert f" webhooks {command} [OPTIONS]" in done.output
    assert f"  {command} " in batchline("webhooks", "--help").stdout
    assert f"webhooks {command}" in (ROOT / "docs/cli.md").read_text("utf-8")
