"""The table of conformance is true: every mark names a rule, and every rule is well formed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / "tests" / "conformance"
sys.path.insert(0, str(HOME))

import table  # noqa: E402 - a program, not a module of a package

DATA = tomllib.loads((HOME / "rules.toml").read_text("utf-8"))
RULES = [(section["id"], rule) for section in DATA["section"] for rule in section["rules"]]
IDS = [rule["id"] for _, rule in RULES]


def test_rules_have_ids_of_their_own_that_begin_with_their_section():
    """An id is stable and says where its rule stands."""
    assert len(set(IDS)) == len(IDS)
    assert [
        i for (section, _), i in zip(RULES, IDS, strict=True) if not i.startswith(f"{section}-")
    ] == []


def test_rules_say_why_and_how_strongly():
    """Nothing but the named sources and strengths."""
    assert {rule["mark"] for _, rule in RULES} <= {"sdk", "doc", "seen", "client", "choice"}
    assert {rule["strength"] for _, rule in RULES} <= {"must", "should", "may"}
    assert [
        rule["id"] for _, rule in RULES if not rule["text"] or rule.get("deviation") == ""
    ] == []


def test_the_checklist_names_rules():
    """What clients depend on is covered by rules that exist."""
    assert [i for entry in DATA["checklist"] for i in entry["rules"] if i not in IDS] == []


def test_the_table_is_true(collected):
    """Every mark names a rule, every rule is proved, and the document says so."""
    if collected is None:
        pytest.skip("not all tests were collected: `make docs` would show what is stale")
    marks = table.Marks()
    marks.add(collected)

    assert table.faults(table.load(), marks, table.DOCUMENT.read_text("utf-8")) == []


@pytest.fixture
def contract():
    rules = [
        table.Rule("1-a", "doc", "must", "A | holds."),
        table.Rule("1-b", "doc", "may", "B holds.", deviation="C suits us better."),
    ]
    return table.Contract([table.Section("1", "Conventions", rules)], [("A.", ["1-a"])])


@pytest.fixture
def marks():
    """One rule proved by one of two parameters of a test, the other by a whole test."""
    marks = table.Marks()
    marks.parameters |= {
        "tests/x/test_y.py::test_a": {"p]", "q]"},
        "tests/x/test_y.py::test_b": {""},
    }
    marks.proofs["1-a"]["tests/x/test_y.py::test_a"].add("p]")
    marks.proofs["1-b"]["tests/x/test_y.py::test_b"].add("")
    return marks


def test_the_document_names_rules_tests_and_deviations(contract, marks):
    """One row a rule, a link to each test, and what does not hold as stated is counted apart."""
    text = table.render(contract, marks)

    assert "| [1 Conventions](#1-conventions) | 2 | 1 | 1 |" in text
    assert (
        "| `1-a` | must | doc | A \\| holds. | [x::test_a\\[p\\]](../tests/x/test_y.py) |" in text
    )
    assert "B holds. **Deviation:** C suits us better. | [x::test_b]" in text
    assert table.faults(contract, marks, text) == []


def test_a_rule_without_a_test_is_a_fault(contract, marks):
    """A deviation needs none."""
    marks.proofs.clear()

    assert table.faults(contract, marks, "") == [
        "1-a has no test: mark one that proves it, or name why it is a deviation"
    ]


def test_a_mark_without_a_rule_is_a_fault(contract, marks):
    """It would prove nothing."""
    marks.proofs["1-z"]["tests/x/test_y.py::test_b"].add("")

    (fault,) = table.faults(contract, marks, "")
    assert fault.startswith("tests/x/test_y.py::test_b names the unknown rule 1-z")


def test_a_stale_document_is_a_fault(contract, marks):
    """The remedy is named."""
    assert table.faults(contract, marks, "old") == ["docs/conformance.md is stale: run `make docs`"]


MARKED = """
import pytest

pytestmark = pytest.mark.spec("module")


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.spec("parameter"), id="one"), 2])
def test_cases(n):
    assert n


@pytest.mark.spec("class")
class TestAll:
    def test_inside(self):
        assert self


@pytest.mark.skip
@pytest.mark.spec("skipped")
def test_skipped():
    raise AssertionError
"""
PRINT = "import pathlib, table; m = table.collect(pathlib.Path()); print({r: m.tests(r) for r in m.proofs})"


def test_marks_of_modules_classes_and_parameters_count(tmp_path):
    """Those of a skipped test do not: it could never fail."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_marks.py").write_text(MARKED)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = spec(id, ...): rules\n")

    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HOME)},
    )

    inside, cases = (
        "tests/test_marks.py::" + name for name in ("TestAll::test_inside", "test_cases")
    )
    assert ast.literal_eval(done.stdout) == {
        "module": [inside, cases],
        "parameter": [f"{cases}[one]"],
        "class": [inside],
    }, done.stderr
