"""docs/features.md names tests and pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "features.md").read_text("utf-8")
ROWS = [row.split("|")[1:-1] for row in PAGE.splitlines() if row.startswith("| ")][1:]
TEST = re.compile(r"`([\w/]+(?:\.py|/))`")


def test_each_feature_names_a_page_and_tests():
    assert len(ROWS) >= 10
    for feature, page, tests in ROWS:
        assert re.search(r"\]\([\w-]+\.md", page), feature
        assert TEST.search(tests), feature


def test_each_test_that_is_named_exists():
    """A name without a folder lies beside the one before it."""
    missing = []
    for _, _, tests in ROWS:
        folder = Path()
        for name in TEST.findall(tests):
            path = ROOT / name if "/" in name else folder / name
            folder = path.parent
            missing += [] if path.exists() else [str(path.relative_to(ROOT))]
    assert missing == []
