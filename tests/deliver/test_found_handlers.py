"""Where handlers are found: a folder, installed packages; and what is told of what cannot run."""

from __future__ import annotations

import pytest
from handler_bench import survey_of

from batchline.webhooks.records import DeliveryState

GOOD = """
@register_handler
class Good:
    name = "good"
    async def handle(self, batch, results, context): pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that is installed, as pip leaves it, with a handler."""
    site = tmp_path / "site"
    told = site / "acme-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[batchline.handlers]\nacme = acme:Acme\n")
    (site / "acme.py").write_text(
        "class Acme:\n"
        "    name = 'acme'\n"
        "    async def handle(self, batch, results, context):\n"
        "        open(context.settings['out'], 'w').write(batch.id)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    return site


async def test_a_handler_of_a_package_gets_batches_once_it_has_a_section(
    make_handlers, tmp_path, package
):
    """One that is installed and not asked for stays off."""
    out = tmp_path / "out"
    found = await survey_of(tmp_path, GOOD)
    assert [one.name for one in found.installed] == ["good"]
    assert ("acme", "package:acme") in [(one.name, one.source) for one in found.off]

    bench = await make_handlers(GOOD, sections={"mine": {"handler": "acme", "out": str(out)}})
    batch = await bench.completed(1)
    await bench.round()

    ends = {one.handler: one.state for one in await bench.deliveries()}
    assert ends == dict.fromkeys(("mine", "good"), DeliveryState.DELIVERED)
    assert out.read_text() == batch.id


FAULTS = {
    "a file that does not compile": ("def (", {}, "SyntaxError"),
    "a file that raises": ("1 / 0", {}, "ZeroDivisionError"),
    "a file that ends the process": ("import os; os._exit(3)", {}, "exit code 3"),
    "a file without a handler": ("x = 1", {}, "it registers no handler"),
    "no name": ("register_handler(object())", {}, "has no usable name"),
    "no method": ("class A: name = 'a'\nregister_handler(A)", {}, "has no method 'handle'"),
    "an unknown handler": (GOOD, {"x": {"handler": "goood"}}, "there is no handler 'goood'"),
    "no YAML": (GOOD, "a: [", "it is not YAML"),
    "no mapping": (GOOD, "- a", "it must map names to settings"),
    "a variable that is not set": (GOOD, {"good": {"k": "${NOT_SET}"}}, "NOT_SET is not set"),
    "a status of no batch": (
        GOOD,
        {"good": {"when": {"status": ["done"]}}},
        "completed, expired, cancelled, not 'done'",
    ),
    "a word that is unknown": (GOOD, {"good": {"limits": {"memory": 1}}}, "unknown field `memory`"),
    "limits of nothing": (GOOD, {"good": {"limits": {"seconds": 0}}}, "'limits' must be above 0"),
    "a bad name": (GOOD, {"good/bad": {}}, "a name has up to 64 letters"),
}


async def test_what_cannot_run_is_told(tmp_path):
    """Each with the place and the reason; nothing of it is run."""
    for number, (kind, (code, sections, told)) in enumerate(FAULTS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = await survey_of(folder, code, sections=sections)
        assert len(found.faults) == 1, (kind, found.faults)
        assert told in found.faults[0], kind
