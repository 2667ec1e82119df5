"""One word for each thing: docs/glossary.md has those in use, and those that gave way do not come back."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RETIRED = {
    "berth": "backend",
    "berths": "backends",
    "Stay": "Slot",
    "Placement": "Balancer",
    "Pulse": "Liveness",
    "Doubt": "PendingLoss",
    "hungry": "wants_lines",
    "kick": "dispatch",
    "wary": "after hang",
    "ripe": "due",
    "Desk": "GatewayStore",
    "Deposit": "FileSink",
    "trial": "isolated attempt",
    "trials": "isolated attempts",
    "Suspects": "Quarantine",
    "condemn": "fail as poison",
    "condemned": "failed as poison",
    "on every attempt": "on every try, as clients read it",
}
WORD = re.compile(rf"\b({'|'.join(RETIRED)})\b")
PACKAGES = ("batchline", "gateway", "dispatcher", "deliver", "dashboard")
MOST_WORDS = 40


def texts():
    """Yield the path and the text of everything that uses words; decisions and this file tell of old ones."""
    for folder in (*PACKAGES, "benchmarks", "tests"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "batchline").rglob("*.sql")
    yield from (ROOT / "docs").glob("*.md")


def test_retired_words_do_not_come_back():
    """What to say instead stands beside each."""
    found = [
        f"{path.relative_to(ROOT)}: {word} (say {RETIRED[word]})"
        for path in texts()
        if path != Path(__file__)
        for word in sorted(set(WORD.findall(path.read_text("utf-8"))))
    ]
    assert found == []


def test_the_glossary_is_short():
    """So that it is read: each word once, in one line."""
    rows = re.findall(
        r"^\| ([a-z][a-z ]*) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE
    )
    words = [row for row in rows if row != "word"]
    assert len(words) <= MOST_WORDS
    assert len(set(words)) == len(words)
