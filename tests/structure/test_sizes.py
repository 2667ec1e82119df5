"""Nothing is larger than a reader takes in at once: modules, functions, classes, folders."""

from __future__ import annotations

import ast
from collections import Counter

from modules import MODULES, ROOT, name_of, nodes

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 50
PUBLIC_METHODS = 14
FILES_OF_A_FOLDER = 14
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of(node):
    return node.end_lineno - node.lineno + 1


def named(kinds):
    return [(name_of(p), node) for p in MODULES for node in nodes(p) if isinstance(node, kinds)]


def public_methods(node):
    return [m for m in node.body if isinstance(m, FUNCTIONS) and not m.name.startswith("_")]


def test_modules_are_short():
    """Longer ones want to be two."""
    long = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > LINES_OF_A_MODULE} == {}


def test_functions_and_classes_are_small():
    """Longer functions want to be two, and classes with more methods have more than one task."""
    large = {
        f"{name}:{node.name}"
        for name, node in named(FUNCTIONS)
        if lines_of(node) > LINES_OF_A_FUNCTION
    } | {
        f"{name}:{node.name}"
        for name, node in named(ast.ClassDef)
        if len(public_methods(node)) > PUBLIC_METHODS
    }
    assert large == set()


def test_folders_hold_few_files():
    """What is more wants rooms."""
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in MODULES)
    assert {name: count for name, count in folders.items() if count > FILES_OF_A_FOLDER} == {}
