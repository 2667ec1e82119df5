"""Backup and fsck of what earlier versions left: looked at in today's terms, and left as it is."""

from __future__ import annotations

import asyncio
import json

import pytest
from old_versions import SCHEMAS, Past, dump, old_database
from typer.testing import CliRunner

from batchline.cli.main import app


@pytest.fixture(params=[SCHEMAS[0], SCHEMAS[3], SCHEMAS[-2]])
async def old(request, tmp_path, blobs):
    """A data directory of a past version, with a batch in every state."""
    past = Past(blobs)
    await past.fill()
    old_database(tmp_path / "data" / "batchline.sqlite3", request.param, past.rows)
    (tmp_path / "blobs").rename(tmp_path / "data" / "blobs")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "data").mkdir()


async def test_an_old_directory_is_looked_at_without_changing_it(old):
    """Migrating is for those who run on it."""
    before = dump(old / "batchline.sqlite3")

    report = await asyncio.to_thread(run, "fsck", old)

    wrong = {f["check"] for f in report["findings"] if f["level"] == "wrong"}
    assert wrong <= {"results", "uploads"}  # only a sketch is left of what had ended
    assert "cannot be read" not in str(report)
    assert dump(old / "batchline.sqlite3") == before


async def test_a_backup_keeps_the_schema(old, tmp_path):
    """So that the version that made it can go on with it: upgrades can be taken back."""
    before = dump(old / "batchline.sqlite3")

    report = await asyncio.to_thread(run, "backup", tmp_path / "there", "--data", old)

    assert set(report["missing"]) <= {"uploads/upload_open/part_1"}  # never there
    assert dump(tmp_path / "there" / "batchline.sqlite3")[0] == before[0]
    assert dump(old / "batchline.sqlite3") == before


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)
