"""The client against the real gateway, over a real store and real blobs."""

from __future__ import annotations

import json
import subprocess

import pytest
from clocks import MovedDay
from typer.testing import CliRunner

from batchline.blobs import open_blobs
from batchline.cli.main import app
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store import open_store
from gateway.app import create_app


@pytest.fixture
def gateway(serve_app, tmp_path):
    """A gateway that asks for a key; nothing dispatches."""
    settings = Settings(data_dir=tmp_path / "data", api_key="key")

    async def make():
        opened = open_store(settings.database_path, clock_ms=lambda: 0)
        made = create_app(
            settings=settings,
            store=await opened.__aenter__(),
            blobs=open_blobs(settings.blobs_dir),
            metrics=Metrics(),
            clock=MovedDay(),
        )

        async def close(_):
            await opened.__aexit__(None, None, None)

        made.on_cleanup.append(close)
        return made

    return serve_app(make)


@pytest.fixture
def run(gateway):
    env = {"BATCHLINE_URL": gateway, "BATCHLINE_API_KEY": "key"}
    return lambda *a: CliRunner().invoke(app, [str(x) for x in a], env=env)


def test_a_batch_is_submitted_found_shown_and_cancelled(run, lines):
    """Every command speaks the real API."""
    created = run("submit", lines, "--name", "nightly", "--window", "2h")
    assert created.exit_code == 0, created.stderr
    batch_id = created.stdout.strip()

    listed = json.loads(run("ls", "--json").stdout)
    shown = json.loads(run("show", "nightly", "--json").stdout)
    early = run("results", "-o", lines.with_name("early.jsonl"))
    cancelled = run("cancel", batch_id[:12], "--yes", "--json")

    assert [b["id"] for b in listed] == [batch_id]
    assert shown["metadata"] == {"name": "nightly"}
    assert shown["completion_window"] == "2h"
    assert early.exit_code == 2
    assert json.loads(cancelled.stdout)["status"] in ("cancelling", "cancelled")


def test_the_gateways_refusals_are_passed_on(run, lines):
    """Its words, and exit 2."""
    window = run("submit", lines, "--window", "1 week")
    unknown = run("show", "batch_" + "0" * 32)

    assert (window.exit_code, unknown.exit_code) == (2, 2)
    assert "completion_window: Invalid value: '1 week'" in window.stderr
    assert "batch_0000" in unknown.stderr


def test_a_refused_batch_leaves_no_file_behind(gateway, run, lines):
    """What was uploaded for it is deleted again."""
    from batchline.cli.api.client import Client

    run("submit", lines, "--window", "1 week")

    with Client(gateway, "key") as client:
        assert client.probe("/v1/files")[1]["data"] == []


def test_a_download_from_the_gateway_resumes(gateway, run, lines, tmp_path):
    """The input file, fetched as a result file would be: the range is the gateway's own."""
    from batchline.cli.api.client import Client
    from batchline.cli.api.download import download

    run("submit", lines)
    file_id = json.loads(run("show", "--json").stdout)["input_file_id"]
    content = lines.read_bytes()
    (tmp_path / f"out.jsonl.{file_id}.part").write_bytes(b"?" * 20)

    with Client(gateway, "key") as client:
        download(client, file_id, tmp_path / "out.jsonl")

    assert (tmp_path / "out.jsonl").read_bytes() == b"?" * 20 + content[20:]


def test_a_piped_file_is_stored_whole(gateway, start_batchline, lines):
    """An upload of unknown length goes through the gateway's own parser."""
    env = {"BATCHLINE_URL": gateway, "BATCHLINE_API_KEY": "key"}
    process = start_batchline(
        "submit", "-", "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )

    out, _ = process.communicate(lines.read_bytes() * 50_000, timeout=60)

    assert process.returncode == 0
    assert json.loads(out)["status"] == "validating"
