"""Second opinions: a refusal counts when two backends agree on it. Pure.

    refused by A ─► the first of its kind in the batch: asked of another backend, B
                      ├ B refuses it, too  ─► it fails, and the kind is settled: B need not be asked again
                      └ B answers it       ─► A is the odd one: what it refuses alike goes elsewhere, and
                                              after a few such without an answer between, A is taken out
A refusal of a settled kind waits until A has answered another line, or was confirmed by B once more: a
server that fell sick after the kind was settled refuses everything. *Kind*: the signature of the refusal,
within one batch. Where there is no other backend, a refusal counts at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

from dispatcher.replies.kinds_of_failure import Signature

AT_ONCE = 3
"""So many lines of a kind are asked elsewhere at the same time; the others wait for what comes of it."""
ODD = 3
"""So many lines that others answered, without an answer of its own between, take a backend out."""
_CHALLENGE = 8
_MOST_CHALLENGE = 512
"""Refusals in a row after which B is asked once more: doubled each time, so that it costs little."""
_MOST_KINDS = 100
_PATIENCE_S = 1.0
"""Near the end of a batch A has nothing else to answer: then B is asked."""


class Kind(NamedTuple):
    """One kind of refusal within one batch."""

    batch_id: str
    signature: Signature


Refusals = Sequence[tuple[str, Kind]]
"""Who refused a line, and how."""


class Opinion(Enum):
    """What becomes of a line that was refused."""

    COUNTS = auto()
    """It fails."""
    ELSEWHERE = auto()
    """It is asked of another backend."""
    WAITS = auto()
    """It is kept until `release` returns it."""


L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Released(Generic[L]):
    """Lines that wait no longer."""

    fail: list[L] = field(default_factory=list)
    elsewhere: list[L] = field(default_factory=list)


@dataclass(slots=True)
class _Docket(Generic[L]):
    """What is known of one kind."""

    is_settled: bool = False
    challenge: int = _CHALLENGE
    asked: set[L] = field(default_factory=set)
    waiting: dict[str, list[tuple[float, L]]] = field(default_factory=lambda: defaultdict(list))
    """By who refused them: since when, and which."""
    odd: set[str] = field(default_factory=set)
    """Who refused what others answered."""


class Opinions(Generic[L]):
    """The dockets of all batches."""

    def __init__(self) -> None:
        self._dockets: dict[str, dict[Signature, _Docket[L]]] = {}
        """By batch."""
        self._waiting: set[Kind] = set()
        """Where lines wait."""
        self._streaks: Counter[str] = Counter()
        """By backend: refusals since its last answer, or since they were confirmed."""
        self._oddities: Counter[str] = Counter()
        """By backend: lines that another one answered since its last answer."""

    @property
    def is_idle(self) -> bool:
        """Whether no refusal waits for a word on it: then an answer to a line never refused is no news."""
        return not (self._streaks or self._oddities or self._waiting)

    def is_odd(self, by: str, kind: Kind) -> bool:
        """Whether it refuses what others answered."""
        return by in self._docket(kind).odd

    def record_refusal(
        self, line: L, kind: Kind, *, by: str, before: Refusals, has_other: bool, now: float
    ) -> Opinion:
        """Take in a refusal. `before`: earlier ones; `has_other`: another backend may be asked."""
        self.forget(line, before)
        docket = self._docket(kind)
        if others := [(other, alike) for other, alike in before if other != by]:
            if any(self._docket(alike) is docket for _, alike in others):
                self._settle(docket, [by, *(other for other, _ in others)])
            return Opinion.COUNTS
        self._streaks[by] += 1
        if by in docket.odd or (has_other and (before or self._is_due(docket, by))):
            docket.asked.add(line)
            return Opinion.ELSEWHERE
        if not has_other:
            return Opinion.COUNTS
        docket.waiting[by].append((now, line))
        self._waiting.add(kind)
        return Opinion.WAITS

    def record_answer(self, by: str, line: L, before: Refusals) -> str | None:
        """Take in an answer; return the backend that is to be taken out for what it refused `before`."""
        del self._streaks[by], self._oddities[by]  # Counters: what is not there is not missed
        if not before:
            return None
        self.forget(line, before)
        for odd, kind in before:
            self._docket(kind).odd.add(odd)
            self._oddities[odd] += 1
        return next((odd for odd, _ in before if self._oddities[odd] >= ODD), None)

    def forget(self, line: L, before: Refusals) -> None:
        """Take note that nothing more comes of a line that was asked elsewhere."""
        for _, kind in before:
            if kind.batch_id in self._dockets:
                self._docket(kind).asked.discard(line)

    def release(self, now: float, *, is_wanted: Callable[[L], bool]) -> Released[L]:
        """Return the lines that wait no longer, each once; those that nobody wants are forgotten."""
        released: Released[L] = Released()
        for kind in list(self._waiting):
            docket = self._docket(kind)
            docket.asked = {line for line in docket.asked if is_wanted(line)}
            for by, waiting in docket.waiting.items():
                lines = [entry for entry in waiting if is_wanted(entry[1])]
                docket.waiting[by] = self._leave(docket, by, lines, released, now)
            if not any(docket.waiting.values()):
                self._waiting.discard(kind)
        return released

    def forget_batch(self, batch_id: str) -> None:
        """Forget a batch that does not run any more."""
        self._dockets.pop(batch_id, None)
        self._waiting = {kind for kind in self._waiting if kind.batch_id != batch_id}

    def _docket(self, kind: Kind) -> _Docket[L]:
        """Return what is known of a kind; of a batch that fails in too many ways, by status alone."""
        dockets = self._dockets.setdefault(kind.batch_id, {})
        signature = kind.signature
        if signature not in dockets and len(dockets) >= _MOST_KINDS:
            signature = Signature(signature.status, "", "")
        return dockets.setdefault(signature, _Docket())

    def _leave(
        self,
        docket: _Docket[L],
        by: str,
        waiting: list[tuple[float, L]],
        released: Released[L],
        now: float,
    ) -> list[tuple[float, L]]:
        """Let go of those that may go; return those that stay."""
        if docket.is_settled and not self._streaks[by]:
            released.fail.extend(line for _, line in waiting)
            return []
        slots = []
        for since, line in waiting:
            is_late = docket.is_settled and not docket.asked and now - since >= _PATIENCE_S
            if by in docket.odd or is_late or self._is_due(docket, by):
                docket.asked.add(line)
                released.elsewhere.append(line)
            else:
                slots.append((since, line))
        return slots

    def _is_due(self, docket: _Docket[L], by: str) -> bool:
        """Whether another backend shall be asked now."""
        if docket.is_settled:
            return not docket.asked and self._streaks[by] >= docket.challenge
        return len(docket.asked) < AT_ONCE

    def _settle(self, docket: _Docket[L], agreed: Collection[str]) -> None:
        if docket.is_settled:
            docket.challenge = min(_MOST_CHALLENGE, docket.challenge * 2)
        docket.is_settled = True
        for name in agreed:
            del self._streaks[name]
