"""Tests wait for states, and give our own code what it shall do otherwise: nothing of it is patched."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

TESTS = Path(__file__).parents[1]
OURS = {"batchline", "dashboard", "deliver", "dispatcher", "gateway"} | {
    p.stem for p in TESTS.glob("*.py")
}
MOST_SLEEPS = 10


def test_nothing_of_our_own_is_patched():
    """An interval, a limit or a part is an argument; only the world around us is made to fail."""
    patched = [
        (path.relative_to(TESTS).as_posix(), node.lineno)
        for path in committed(".py")
        for tree in [ast.parse(path.read_text())]
        for node in ast.walk(tree)
        if is_patch(node) and is_ours(node.args[0], names_of_ours(tree))
    ]
    assert patched == []


def committed(*suffixes):
    """The files of the tests, without what was installed beside them."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "."], cwd=TESTS, capture_output=True, text=True, check=True
    )
    found = (TESTS / name for name in told.stdout.split("\0") if name.endswith(suffixes))
    return [path for path in found if path.is_file()]


def is_patch(node):
    """Whether it replaces an attribute, or an item of a thing."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"setattr", "setitem"}
        and ast.unparse(node.func.value) == "monkeypatch"
    )


def names_of_ours(tree):
    """The names that a module of the tests has imported from our own ones."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in OURS:
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                (alias.asname or alias.name).partition(".")[0]
                for alias in node.names
                if alias.name.partition(".")[0] in OURS
            }
    return found


def is_ours(target, ours):
    """Whether what is patched is, or belongs to, something of our own."""
    if isinstance(target, ast.Constant):
        return str(target.value).partition(".")[0] in OURS
    return ast.unparse(target).partition(".")[0] in ours


def test_sleeps_are_few_and_each_has_its_reason():
    """`waiting.py` has those that are needed; whoever cannot use it says why."""
    sleeps, unexplained = [], []
    for path in committed(".py", ".mjs", ".sh"):
        before = ""
        for line in path.read_text().splitlines():
            if re.search(r"(?<!def )\bsleep\(", line):
                sleeps.append((path.name, line.strip()))
                if not re.search(r"# |// ", before + line):
                    unexplained.append(sleeps[-1])
            before = line
    assert len(sleeps) <= MOST_SLEEPS, sleeps
    assert unexplained == []
