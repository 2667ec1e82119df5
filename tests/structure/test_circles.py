"""No module imports itself, by whatever way: each can be read, loaded and moved without the others."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest
from modules import MODULES, ROOT, nodes

NAMES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in MODULES
}


def packages_of(name, path):
    """The package that a relative import starts from, and those above it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    while package:
        yield package
        package = package.rpartition(".")[0]


def imported(name):
    """The modules of ours that a module imports, anywhere but for type checking."""
    path, found = NAMES[name], set()
    for_types = {
        inner
        for node in nodes(path)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in nodes(path):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = list(packages_of(name, path))
            base = ".".join(
                filter(None, (above[node.level - 1] if node.level else "", node.module))
            )
            within = {f"{base}.{alias.name}" for alias in node.names}
            found |= within & NAMES.keys() or {base}
            if not within <= NAMES.keys():
                found.add(base)
    return found & NAMES.keys() - {name}


def test_no_module_imports_itself_through_others():
    """Imports within functions count, too."""
    graph = {name: imported(name) for name in NAMES}
    assert sum(map(len, graph.values())) > len(NAMES)

    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail(" → ".join(exc.args[1]))
