"""What `batchline doctor` and `fsck` find: one line each, with what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from batchline.cli.render import clean


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Works, or is not needed for what runs here; worth knowing."""
    WRONG = "wrong"


MARKS = {Level.OK: "✓", Level.WARNING: "!", Level.WRONG: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    level: Level
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for --json."""
        return asdict(self)


def good(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """Works, but should be known."""
    return Finding(check, Level.WARNING, detail, remedy)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(check, Level.WRONG, detail, remedy)


def any_wrong(findings: Iterable[Finding]) -> bool:
    """Whether something must be mended."""
    return any(f.level is Level.WRONG for f in findings)


def finding_line(finding: Finding) -> str:
    """Write a finding for people, its further lines below its first."""
    head = f"{MARKS[finding.level]} {finding.check:<15} "
    rows = [clean(line) for line in finding.detail.splitlines()] or [""]
    rows += [f"→ {clean(finding.remedy)}"] if finding.remedy else []
    return head + ("\n" + " " * len(head)).join(rows)
