"""Golden answers: what the API said when last looked at, as files whose diff is reviewed.

A golden holds an answer whole, with what differs from run to run replaced by its shape: ids by kind and order of
appearance, times by their distance from the injected clock. `pytest --golden-update` writes them anew.
"""

from __future__ import annotations

import difflib
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden"

_IDS = {
    "file": re.compile(r"file-[0-9A-Za-z]{22}"),
    "line": re.compile(r"batch_req_[0-9A-Za-z]{24,32}"),
    "batch": re.compile(r"batch_[0-9a-f]{32}"),
    "upload": re.compile(r"upload_[0-9A-Za-z]{22,32}"),
    "part": re.compile(r"part_[0-9A-Za-z]{22,32}"),
    "request": re.compile(r"req_[0-9a-f]{32}"),
}
_FREE_SPACE = re.compile(r"[\d.,]+ [kKMGT]?i?B are free")
_TIMES = re.compile(r"(_at|^created)$")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Shapes:
    """Replaces volatile values; the same id always becomes the same word."""

    def __init__(self, now=None):
        self.now = now
        self.seen = {}

    def of(self, value, key=""):
        """Return a JSON value with its volatile parts replaced."""
        if isinstance(value, dict):
            return {self.text(name): self.of(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner) for inner in value]
        is_time = self.now is not None and _TIMES.search(key)
        if isinstance(value, str):
            if is_time and _RFC3339.fullmatch(value):
                return f"<RFC 3339 {self._time(int(datetime.fromisoformat(value).timestamp()))}>"
            return self.text(value)
        return self._time(value) if is_time and type(value) is int else value

    def _time(self, seconds):
        return f"<now{seconds - self.now:+}>" if seconds != self.now else "<now>"

    def text(self, text):
        for kind, pattern in _IDS.items():
            text = pattern.sub(lambda found, kind=kind: self._name(kind, found[0]), text)
        return _FREE_SPACE.sub("<size> are free", text)

    def _name(self, kind, identity):
        names = self.seen.setdefault(kind, {})
        return names.setdefault(identity, f"<{kind} {len(names) + 1}>")


class Goldens:
    """Compares with the files, or writes them where `update` is set."""

    def __init__(self, *, update):
        self.update = update

    def check(self, name, told):
        """Compare field by field; the order of fields counts too, since people read these answers."""
        path = FOLDER / f"{name}.json"
        text = json.dumps(told, indent=2) + "\n"
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        golden = path.read_text("utf-8") if path.exists() else ""
        if text != golden:
            change = difflib.unified_diff(
                golden.splitlines(), text.splitlines(), "golden", "told", lineterm=""
            )
            pytest.fail(
                f"{name} is not as last reviewed (if it is meant: pytest --golden-update, and look "
                "at the diff):\n" + "\n".join(change),
                pytrace=False,
            )


def names(folder):
    """Return the names of all goldens of one folder."""
    return {f"{folder}/{path.stem}" for path in (FOLDER / folder).glob("*.json")}
