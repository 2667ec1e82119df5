"""`batchline webhooks` against the real gateway, over a real store."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network

import pytest
from aiohttp import web
from clocks import MovedDay
from standardwebhooks import Webhook
from typer.testing import CliRunner

from batchline.blobs import open_blobs
from batchline.cli.main import app
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store import open_store
from gateway.app import create_app

URL = "https://hooks.example.com/batch"


@pytest.fixture
def run(serve_app, tmp_path):
    """Run the command line against a gateway; nothing dispatches, nothing delivers."""
    settings = Settings(
        data_dir=tmp_path / "data",
        api_key="key",
        webhook_secret="whsec_" + "A" * 43 + "=",
        webhook_networks=(ip_network("127.0.0.1/32"),),
    )

    async def make():
        opened = open_store(settings.database_path, clock_ms=lambda: 0)
        made = create_app(
            settings=settings,
            store=await opened.__aenter__(),
            blobs=open_blobs(settings.blobs_dir),
            metrics=Metrics(),
            clock=MovedDay(time.time()),  # receivers refuse what is signed long ago
        )

        async def close(_):
            await opened.__aexit__(None, None, None)

        made.on_cleanup.append(close)
        return made

    env = {"BATCHLINE_URL": serve_app(make), "BATCHLINE_API_KEY": "key"}
    return lambda *a: CliRunner().invoke(app, [str(x) for x in a], env=env)


def test_an_endpoint_is_added_listed_rotated_and_deleted(run):
    """Every command speaks the real API."""
    added = run("webhooks", "add", "ci", URL, "--event", "batch.failed", "--json")
    assert added.exit_code == 0, added.stderr
    endpoint = json.loads(added.stdout)

    listed = json.loads(run("webhooks", "ls", "--json").stdout)
    rotated = run("webhooks", "rotate", endpoint["id"], "--keep-old")
    deliveries = run("deliveries", "--endpoint", endpoint["id"], "--json")
    deleted = run("webhooks", "rm", endpoint["id"], "--yes")

    assert [(e["id"], e["name"], e["event_types"]) for e in listed] == [
        (endpoint["id"], "ci", ["batch.failed"])
    ]
    assert rotated.stdout.strip() not in ("", endpoint["signing_secret"])
    assert (deliveries.exit_code, deliveries.stdout) == (0, "[]\n")
    assert deleted.exit_code == 0
    assert run("webhooks", "ls").stdout == ""


def test_a_test_event_is_signed_with_the_secret_that_was_written(run, serve_app):
    """The receiver knows it by what `add` and `rotate` wrote; what it answers decides."""
    came = []

    async def take(request):
        came.append((await request.text(), dict(request.headers)))
        return web.Response(status=204 if len(came) < 3 else 503)

    receiver = web.Application()
    receiver.router.add_post("/hook", take)
    first = run("webhooks", "add", "ci", serve_app(receiver) + "/hook").stdout.strip()
    endpoint_id = json.loads(run("webhooks", "ls", "--json").stdout)[0]["id"]

    taken = [run("webhooks", "test", endpoint_id)]
    second = run("webhooks", "rotate", endpoint_id).stdout.strip()
    taken.append(run("webhooks", "test", endpoint_id, "--event", "batch.failed"))
    refused = run("webhooks", "test", endpoint_id)

    assert [x.exit_code for x in (*taken, refused)] == [0, 0, 1], taken[0].stderr
    events = [Webhook(x).verify(*c) for x, c in zip((first, second), came[:2], strict=True)]
    assert [event["type"] for event in events] == ["batch.completed", "batch.failed"]


def test_a_batch_says_where_its_end_is_told(run, lines):
    """And what was delivered of it can be asked: nothing, as it has not ended."""
    created = run("submit", lines, "--callback-url", URL)
    assert created.exit_code == 0, created.stderr
    batch_id = created.stdout.strip()

    assert json.loads(run("show", batch_id, "--json").stdout)["callback_url"] == URL
    assert run("deliveries", "--batch", batch_id, "--json").stdout == "[]\n"
    assert run("deliveries", "--json").stdout == "[]\n"


def test_the_gateways_refusals_are_passed_on(run, lines):
    """A receiver that is not public, an endpoint and a delivery that nobody knows."""
    inside = run("webhooks", "add", "ci", "https://127.0.0.2/hook")
    callback = run("submit", lines, "--callback-url", "https://127.0.0.2/hook")
    unknown = run("webhooks", "rotate", "we_" + "0" * 32)
    no_delivery = run("redeliver", "dlv_9")

    assert [x.exit_code for x in (inside, callback, unknown, no_delivery)] == [2, 2, 2, 2]
    assert "127.0.0.2 is not a public address" in inside.stderr
    assert "127.0.0.2 is not a public address" in callback.stderr
    assert "dlv_9" in no_delivery.stderr
