"""Receivers that fail again and again are left alone for a while, so that they hold up no other. Pure.

    closed ─ OPEN_AFTER failures in a row ─► open ─ its time is over ─► half open: one attempt
       ▲                                      ▲                            │
       └────────────── taken ─────────────────┼────────────────────────────┤
                                              └── failed: twice as long ───┘
A receiver is an origin (scheme, host, port), or a handler. What is known of it is forgotten with the process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchline.webhooks.records import handler_at

OPEN_AFTER = 5
MOST_AT_ONCE = 4
"""Attempts at one receiver under way: a slow one takes few of all. A handler has one batch at a time."""
_FIRST_S = 5.0
_LONGEST_S = 600.0
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Receiver:
    most_at_once: int
    under_way: int = 0
    failures: int = 0
    open_until: float = 0.0

    @property
    def most(self) -> int:
        return 1 if self.failures >= OPEN_AFTER else self.most_at_once


class Receivers:
    """What is known of each receiver."""

    def __init__(self) -> None:
        self._known: dict[str, _Receiver] = {}

    def busy(self, now: float) -> set[str]:
        """Return those that get no attempt at present. `now`: a clock that never jumps."""
        return {
            origin
            for origin, one in self._known.items()
            if one.under_way >= one.most or now < one.open_until
        }

    def out(self, now: float) -> int:
        """Return how many are left alone at present."""
        return sum(now < one.open_until for one in self._known.values())

    def begin(self, origin: str) -> None:
        """Note that an attempt begins."""
        one = self._known.get(origin, _unknown(origin))
        self._known[origin] = replace(one, under_way=one.under_way + 1)

    def end(self, origin: str, now: float, *, is_taken: bool) -> None:
        """Note how an attempt ended."""
        one = self._known[origin]
        if not is_taken and now < one.open_until:  # it began before: one outage, told once more
            self._known[origin] = replace(one, under_way=one.under_way - 1)
            return
        failures = 0 if is_taken else one.failures + 1
        spell_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(failures - OPEN_AFTER, 20))
        self._known[origin] = replace(
            one,
            under_way=one.under_way - 1,
            failures=failures,
            open_until=now + spell_s if failures >= OPEN_AFTER else 0.0,
        )
        if self._known[origin] == _unknown(origin):
            del self._known[origin]
        while len(self._known) > _MOST_REMEMBERED:
            first = next((o for o, one in self._known.items() if not one.under_way), None)
            if first is None:
                return
            del self._known[first]


def _unknown(origin: str) -> _Receiver:
    return _Receiver(most_at_once=MOST_AT_ONCE if handler_at(origin) is None else 1)
