"""The documents hold together: what they link or name exists, the map lists each, and lines fit."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for place in ("*.md", "docs/**/*.md", "benchmarks/*.md", ".github/**/*.md")
    for path in ROOT.glob(place)
)
MAP = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
TARGET = re.compile(r"\]\([^)\s]+\)")
CODE = re.compile(
    r"`((?:tests|batchline|gateway|dispatcher|deliver|dashboard|benchmarks)/[\w./-]*\w)`"
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
WIDTH = 100
FIRST_SCREEN = 40


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@cache
def prose(path):
    """The text without its blocks of code."""
    return FENCE.sub("", path.read_text("utf-8"))


@cache
def anchors(path):
    """The fragments that Markdown viewers make of the headings."""
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(path))]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_document_names_exists(document):
    """Files, and headings within them."""
    missing = [path for path in CODE.findall(prose(document)) if not (ROOT / path).exists()]
    for link, anchor in LINK.findall(prose(document)):
        target = document.parent / link if link else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{link}#{anchor}")
    assert missing == []


def test_the_lines_of_the_documents_fit_a_window():
    """Tables, code and the targets of links may be longer."""
    long = [
        f"{name_of(document)}: {line}"
        for document in DOCUMENTS
        for line in prose(document).splitlines()
        if len(TARGET.sub("]", line)) > WIDTH and not line.startswith("|")
    ]
    assert long == []


def test_the_map_lists_each_page_once():
    """A page that nobody finds is not read."""
    linked = Counter((MAP.parent / link).resolve() for link, _ in LINK.findall(MAP.read_text()))
    pages = [path for path in DOCUMENTS if path != MAP and path.parent != ROOT / ".github"]
    assert {name_of(page): linked[page] for page in pages if linked[page] != 1} == {}


def test_the_first_screen_of_the_readme_fits_one():
    """All that stands above the second heading."""
    first = (ROOT / "README.md").read_text("utf-8").partition("\n## ")[0].splitlines()
    assert len(first) <= FIRST_SCREEN
    assert max(map(len, first)) <= WIDTH
