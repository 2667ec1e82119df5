"""The modules of the five packages, as the structure tests see them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("batchline", "gateway", "dispatcher", "deliver", "dashboard")
MODULES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path):
    """Every node of the file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))
