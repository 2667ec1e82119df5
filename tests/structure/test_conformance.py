"""The table of conformance is true: every mark names a rule, and every rule is well formed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / "tests" / "conformance"
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


def test_the_table_is_true():
    """Every mark names a rule."""
    done = subprocess.run(
        [sys.executable, HOME / "table.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )

    assert (done.stdout, done.returncode) == ("", 0), done.stderr
