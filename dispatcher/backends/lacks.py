"""What one backend was found to lack: a model, an endpoint, room for long requests.

Learned from its own refusals. None of it is the fault of a line, and none concerns lines that do not need it:
a batch for an endpoint that nobody has shall not take the fleet from all others. What is lacking is asked for
again with one line at a time, and less and less often. Times are seconds of a clock that never jumps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

_FIRST_S = 0.5
_LONGEST_S = 30.0
_MOST_ENTRIES = 1000
_MOST_TOLD = 3


class Need(NamedTuple):
    """What a line needs of a backend."""

    model: str | None = None
    endpoint: str = ""
    size_bytes: int = 0


ANY = Need()
"""The need of a line that any backend may take."""


class Lacking(StrEnum):
    """Kinds of what may be lacking: bounded, for metrics."""

    MODEL = "model"
    ENDPOINT = "endpoint"
    SIZE = "size"


@dataclass(slots=True)
class _Entry:
    reason: str
    until: float
    refusals: int = 0
    is_asked_for: bool = False

    def record_refusal(self, reason: str, now: float, *, longest_s: float) -> bool:
        self.reason = reason
        if now < self.until and not self.is_asked_for:
            return False  # by a line from before: no news
        self.is_asked_for = False
        self.until = now + min(longest_s, _FIRST_S * 2.0 ** min(self.refusals, 30))
        self.refusals += 1
        return True


class Lacks:
    """The entries of one backend; false while there is none."""

    def __init__(self, *, longest_s: float = _LONGEST_S) -> None:
        """Begin without an entry. What is lacking is asked for at least each `longest_s`."""
        self._longest_s = max(_FIRST_S, min(_LONGEST_S, longest_s))
        self._entries: dict[tuple[Lacking, str], _Entry] = {}
        self.most_bytes = 0
        """Requests of so many bytes are refused as too large; 0: none was."""

    def __bool__(self) -> bool:
        """Whether anything is lacking."""
        return bool(self._entries)

    def note(self, kind: Lacking, need: Need, reason: str, *, now: float) -> bool:
        """Take in that a line was refused for this; return whether that is news."""
        if kind is Lacking.SIZE:
            self.most_bytes = min(self.most_bytes or need.size_bytes, need.size_bytes)
        key = kind, _name(kind, need)
        if key not in self._entries and len(self._entries) >= _MOST_ENTRIES:
            self.forget(*next(iter(self._entries)))  # the oldest: it is found out again
        entry = self._entries.setdefault(key, _Entry(reason, now))
        return entry.record_refusal(reason, now, longest_s=self._longest_s)

    def allow(self, need: Need, now: float) -> bool:
        """Whether a line with this need may be sent, to see whether it is there again where it is time."""
        return all(entry.until <= now for entry in self._against(need))

    def record_attempt(self, need: Need, now: float) -> None:
        """Take in that a line with this need was sent: no other one before its end is known."""
        for entry in self._against(need):
            entry.until, entry.is_asked_for = now + _LONGEST_S, True

    def forget_attempt(self, need: Need, now: float) -> None:
        """Take in that such a line told nothing: another one may follow."""
        for entry in self._against(need):
            if entry.is_asked_for:
                entry.until, entry.is_asked_for = now + _FIRST_S, False

    def record_answer(self, need: Need) -> None:
        """Take in that a line with this need was answered: it lacks none of that any more."""
        for kind in Lacking:
            if kind is not Lacking.SIZE or need.size_bytes >= self.most_bytes:
                self.forget(kind, _name(kind, need))

    def forget(self, kind: Lacking, name: str) -> None:
        """Forget one entry."""
        if self._entries.pop((kind, name), None) is not None and kind is Lacking.SIZE:
            self.most_bytes = 0

    def has(self, kind: Lacking, name: str) -> bool:
        """Whether this is lacking."""
        return (kind, name) in self._entries

    def is_known(self, kind: Lacking, name: str, now: float) -> bool:
        """Whether this is lacking for certain: nobody asks for it at present, and it is not time to."""
        entry = self._entries.get((kind, name))
        return entry is not None and entry.until > now and not entry.is_asked_for

    def names(self, kind: Lacking) -> list[str]:
        """Return what is lacking of a kind."""
        return [name for found, name in self._entries if found is kind]

    def in_words(self) -> str | None:
        """Say in words what is lacking: the first few reasons, and how many more; None of nothing."""
        reasons = list(self.reasons())
        more = len(reasons) - _MOST_TOLD
        shown = reasons[:_MOST_TOLD] + ([f"and {more} more of the kind"] if more > 0 else [])
        return "; ".join(shown) or None

    def reasons(self, need: Need | None = None) -> Iterator[str]:
        """Say in words what is lacking: for a need, or at all."""
        entries = self._entries.values() if need is None else self._against(need)
        return (entry.reason for entry in entries)

    def _against(self, need: Need) -> list[_Entry]:
        keys = [(Lacking.MODEL, need.model or ""), (Lacking.ENDPOINT, need.endpoint)]
        if self.most_bytes and need.size_bytes >= self.most_bytes:
            keys.append((Lacking.SIZE, ""))
        return [entry for key in keys if (entry := self._entries.get(key)) is not None]


def _name(kind: Lacking, need: Need) -> str:
    match kind:
        case Lacking.MODEL:
            return need.model or ""
        case Lacking.ENDPOINT:
            return need.endpoint
        case Lacking.SIZE:
            return ""
