"""`batchline handlers`: which handlers run here, which are off, and what is wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from batchline.cli.main import app

CODE = """
from batchline.handlers import register_handler

@register_handler
class Mine:
    name = "mine"

    async def handle(self, batch, results, context): ...

@register_handler
class Shy:
    name = "shy"

    def enabled(self):
        return False

    async def handle(self, batch, results, context): ...
"""
SECTIONS = """
reviews: {handler: mine, when: {status: [completed], metadata: {team: curation}}}
"""
FAULTY = "reviews: {handler: theirs}"


@pytest.fixture
def run(tmp_path):
    """Run a command on this host: a folder with handlers, and sections of the handlers' file."""
    folder, file = tmp_path / "handlers", tmp_path / "handlers.yaml"
    folder.mkdir()
    (folder / "mine.py").write_text(CODE)
    env = {
        "BATCHLINE_HANDLERS_FILE": str(file),
        "BATCHLINE_HANDLERS_FOLDER": str(folder),
        "BATCHLINE_DATA_DIR": str(tmp_path / "data"),
    }

    def run(*arguments, sections):
        file.write_text(sections)
        return CliRunner().invoke(app, arguments, env=env)

    return SimpleNamespace(run=run, source=f"folder:{folder}/mine.py")


def test_handlers_are_listed_with_section_state_and_source(run):
    """Those that run with the batches that they get; those that do not want to run as off."""
    done = run.run("handlers", sections=SECTIONS)

    header, *rows = [row.split() for row in done.stdout.splitlines()]
    assert done.exit_code == 0, done.stderr
    assert header == ["HANDLER", "SECTION", "STATE", "BATCHES", "SOURCE"]
    when = ["completed", "with", "team=curation"]
    assert rows[0] == ["mine", "reviews", "▶", "runs", *when, run.source]
    assert ["shy", "–", "–", "off", "–", run.source] in rows


def test_a_fault_of_the_handlers_is_told_with_exit_1(run):
    """On the other stream, and in the JSON beside those that run nevertheless."""
    done = run.run("handlers", "--json", sections=FAULTY)

    told = json.loads(done.stdout)
    assert done.exit_code == 1
    (fault,) = told["faults"]
    assert fault.startswith("reviews: there is no handler 'theirs'; found were: ")
    assert told["handlers"][0] == {
        "name": "mine",
        "handler": "mine",
        "has_section": False,
        "is_off": False,
        "source": run.source,
        "batches": {"status": ["completed", "expired"], "metadata": {}},
    }
