"""Which running batches are past their deadline, by a clock that may jump either way. Pure."""

from __future__ import annotations

from dispatcher.sending.ordered import Ordered


class Windows:
    """The deadlines of running batches."""

    def __init__(self) -> None:
        self._deadlines: dict[int, int] = {}
        self._ahead: Ordered[tuple[int, int]] = Ordered()
        self._over: dict[int, int] = {}

    def add(self, seq: int, expires_at: int) -> None:
        """Watch the deadline of a batch."""
        if seq not in self._deadlines:
            self._deadlines[seq] = expires_at
            self._ahead.add((expires_at, seq))

    def remove(self, seq: int) -> None:
        """Watch it no more; harmless if nobody did."""
        self._over.pop(seq, None)
        if (expires_at := self._deadlines.pop(seq, None)) is not None:
            self._ahead.discard((expires_at, seq))

    def is_over(self, seq: int) -> bool:
        """Whether the deadline had passed when the clock was last looked at."""
        return seq in self._over

    def look(self, now: float) -> set[int]:
        """Look at the clock; return the batches of which `is_over` says something else now."""
        back = {seq for seq, expires_at in self._over.items() if expires_at > now}
        for seq in back:
            self._ahead.add((self._over.pop(seq), seq))
        passed = set()
        while (first := self._ahead.first()) and first[0] <= now:
            self._ahead.discard(first)
            self._over[first[1]] = first[0]
            passed.add(first[1])
        return back | passed
