"""Each sentence of the store's contract is proved by the suite in tests/store, which knows the contract alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACT = [
    ROOT / f"batchline/store/{name}.py" for name in ("base", "work", "webhooks", "audit", "engine")
]
SUITE = sorted((ROOT / "tests" / "store").glob("test_*.py"))
BEHIND = ("batchline.store.sqlite", "batchline.store.database", "batchline.store.repo")
MOST_METHODS = 14
WAYS_IN = {
    "open_store": "open",
    "open_audit": "audit",
    "open_mending": "mending",
    "bytes_kept": "kept",
}
"""What `Engine` offers, and what tests call of tests/store/engines.py."""


def tree(path):
    return ast.parse(path.read_text("utf-8"))


def plain(text):
    return " ".join(text.split())


def sentences(text):
    """Cut a docstring into its sentences."""
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", plain(text)) if text.strip() else []


def protocols():
    """Yield each protocol of the contract."""
    for path in CONTRACT:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases):
                yield node


def methods(protocol):
    return [
        node for node in protocol.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def promised():
    """Yield (what promises it, sentence): of methods all, of classes what follows the first line."""
    for protocol in protocols():
        _, _, rules = (ast.get_docstring(protocol) or "").partition("\n\n")
        yield from ((protocol.name, sentence) for sentence in sentences(rules))
        for method in methods(protocol):
            name = f"{protocol.name}.{method.name}"
            yield from ((name, sentence) for sentence in sentences(ast.get_docstring(method) or ""))


PROVED = {
    plain(ast.get_docstring(node) or "")
    for path in SUITE
    for node in ast.walk(tree(path))
    if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
}


@pytest.mark.parametrize(("where", "sentence"), list(promised()))
def test_each_sentence_of_the_contract_is_a_test(where, sentence):
    """Word for word: whoever changes what is promised is led to its proof."""
    assert any(sentence in docstring for docstring in PROVED), (
        f"no test in tests/store says so: {where}"
    )


def test_each_method_of_the_contract_is_called():
    """By the tests, not only named in them."""
    called = {
        node.func.attr
        for path in SUITE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    names = {WAYS_IN.get(method.name, method.name) for p in protocols() for method in methods(p)}
    assert names - called == set()


@pytest.mark.parametrize("path", SUITE, ids=lambda path: path.name)
def test_the_suite_knows_no_engine(path):
    """It reaches behind no protocol, so that any engine can run it."""
    private = {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
    }
    imported = {
        name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
        if name
    }
    behind = {name for name in imported if name.startswith((*BEHIND, "sqlite", "aiosqlite"))}
    assert (private, behind) == (set(), set())


def test_protocols_and_their_parts_stay_small():
    """One role each, and on SQLite one class."""
    classes = [
        node
        for path in (ROOT / "batchline/store").rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    public = {
        node.name: sum(not method.name.startswith("_") for method in methods(node))
        for node in classes
    }
    assert {name: count for name, count in public.items() if count > MOST_METHODS} == {}
