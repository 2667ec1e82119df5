"""Doctor: what is wrong with the handlers of results, and how it is mended."""

from __future__ import annotations

import pytest

from batchline.cli.deliveries.checks_handlers import check_handlers
from batchline.cli.host.findings import Level
from batchline.settings import Settings

GOOD = """
from batchline.handlers import register_handler

@register_handler
class Mine:
    name = "mine"

    async def handle(self, batch, results, context): ...
"""
SECTIONS = "reviews: {handler: theirs}\nmine: {token: '${NOT_SET_ANYWHERE}'}\n"


@pytest.fixture
def examine(tmp_path):
    """Check a folder with a file of code, and the text of a handlers' file; None for one that is not there."""
    folder, file = tmp_path / "handlers", tmp_path / "handlers.yaml"

    def examine(code, sections):
        if code is not None:
            folder.mkdir(exist_ok=True)
            (folder / "mine.py").write_text(code)
        if sections is not None:
            file.write_text(sections)
        found = check_handlers(
            Settings(_env_file=None, handlers_file=file, handlers_folder=folder, data_dir=tmp_path)
        )
        told = [(one.level, one.detail, one.remedy) for one in found]
        return [tuple(part.replace(f"{tmp_path}/", "") for part in one) for one in told]

    return examine


def test_handlers_that_can_run_are_named(examine):
    """In one line."""
    assert examine(GOOD, "") == [(Level.OK, "mine can run here", "")]


def test_nothing_is_said_where_nobody_set_a_handler_up(tmp_path):
    """Who uses none is not bothered."""
    assert list(check_handlers(Settings(_env_file=None, data_dir=tmp_path))) == []


def test_each_fault_of_the_handlers_has_a_remedy(examine):
    """A section, a variable, the code; a file and a folder that are not there."""
    absent = examine(None, None)
    wrong = examine("import nothing_of_the_kind", SECTIONS)

    assert {level for level, *_ in (*absent, *wrong)} == {Level.WRONG}
    assert [(detail.split(":")[0], remedy) for _, detail, remedy in absent] == [
        (
            "handlers.yaml cannot be read",
            "name a file that can be read with BATCHLINE_HANDLERS_FILE",
        ),
        ("handlers is no folder", "name a folder with BATCHLINE_HANDLERS_FOLDER"),
    ]
    by_section = "correct handlers.yaml; the deliverer does not start before"
    assert [remedy for _, _, remedy in wrong] == [
        by_section,
        "mend it, or let the name of the file begin with _ to leave it out",
        by_section,
    ]
    assert "NOT_SET_ANYWHERE" in wrong[0][1]
