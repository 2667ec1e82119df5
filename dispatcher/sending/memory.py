"""How many bytes of requests and answers are in memory, and how many may be.

    read ahead ─► in flight ─► its answer waits to be durable ─► gone
         │            │ retry: laid aside
         └─ parked: laid aside ◄┘
What is laid aside loses its body when others need the room, and is read again when its turn comes (`bodies`);
so does what was read ahead, for a line in flight. A line that is larger than all there is goes alone.
"""

from __future__ import annotations

import asyncio

from dispatcher.attempts.leased_slices import Held, ReadyLine

from .media_room import MediaRoom


class Memory:
    """The bytes held. Who waits here waits for lines in flight to end, and for answers to be stored."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0
        self._ready: dict[ReadyLine, None] = {}
        self._aside: dict[ReadyLine, None] = {}
        self._ready_bytes = 0
        self._aside_bytes = 0
        self._in_flight = 0
        self._answer_bytes = 0.0  # that a line in flight will take, by what came lately
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self.media = MediaRoom(
            most_bytes // 2, make_room=self._make_room, count=self._count, freed=self._freed
        )
        """What files take, which lines name by URL."""

    @property
    def free_bytes(self) -> int:
        """How much may be read ahead now, the bodies that were laid aside given up."""
        return self._most_bytes - self._reserved - self.held_bytes + self._aside_bytes

    @property
    def is_idle(self) -> bool:
        """Whether anything may be read, however large: nothing else is on its way."""
        return not self._in_flight and self.held_bytes == self._aside_bytes

    @property
    def may_send(self) -> bool:
        """Whether there is room for the answer of one more line."""
        if not self._in_flight:
            return True
        answers = (self._in_flight + 1) * self._answer_bytes
        return self._pinned_bytes + answers <= self._most_bytes

    @property
    def _reserved(self) -> int:
        return int(self._in_flight * self._answer_bytes)

    @property
    def _pinned_bytes(self) -> int:
        return self.held_bytes - self._ready_bytes - self._aside_bytes

    # -- lines

    def read_ahead(self, line: ReadyLine) -> None:
        """Take in a line that was read and waits for its turn; its body only if there is room."""
        while self._aside and not self._fits(line.size_bytes):
            self._give_up(next(iter(self._aside)))
        if not self._fits(line.size_bytes):
            line.make_room()
            return
        self.held_bytes += line.size_bytes
        self._ready[line] = None
        self._ready_bytes += line.size_bytes

    def pin(self, line: ReadyLine) -> None:
        """Keep the body of a line, if it is there, for as long as the line is in flight."""
        self._unlist(line)
        self._in_flight += 1

    def unpin(self, line: ReadyLine) -> None:
        """Let the body of a line go that is in flight no more, if others need the room."""
        self._in_flight -= 1
        if line.body is None:
            self._freed.set()
        elif not line.held.may_send:
            self.free(line)
        else:
            self.lay_aside(line)

    def lay_aside(self, line: ReadyLine) -> None:
        """Let the body of a line that waits for a server, or its retry, go if others need the room."""
        self._unlist(line)
        if line.body is not None:
            self._aside[line] = None
            self._aside_bytes += line.size_bytes
            self._freed.set()

    def free(self, line: ReadyLine) -> None:
        """Forget the body of a line."""
        self._unlist(line)
        if line.body is not None:
            line.body = None
            self.give(line.size_bytes)

    def free_all(self, held: Held) -> None:
        """Forget the bodies of a slice's lines, but of those in flight."""
        for line in held.lines:
            if line in self._ready or line in self._aside:
                self.free(line)

    async def take(self, size_bytes: int) -> None:
        """Wait until there is room for the body of a line in flight, first come, first served."""
        async with self._turn:
            while not self._make_room(size_bytes):
                self._freed.clear()
                await self._freed.wait()
            self.held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""
        self.held_bytes -= size_bytes
        self._freed.set()

    def take_answer(self, size_bytes: int) -> None:
        """Take in an answer, until it is given back; others of about its size will follow."""
        self.held_bytes += size_bytes
        self._answer_bytes = max(size_bytes, self._answer_bytes * 0.9)

    def _count(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes

    def _fits(self, size_bytes: int) -> bool:
        return self.held_bytes + self._reserved + size_bytes <= self._most_bytes

    def _make_room(self, size_bytes: int) -> bool:
        pinned = self._pinned_bytes
        if pinned and pinned + self._reserved + size_bytes > self._most_bytes:
            return False
        while not self._fits(size_bytes):
            if self._aside:
                self._give_up(next(iter(self._aside)))
            elif self._ready:
                self._give_up(next(reversed(self._ready)))
            else:
                break  # larger than all there is, and alone
        return True

    def _give_up(self, line: ReadyLine) -> None:
        self._unlist(line)
        line.make_room()
        self.give(line.size_bytes)

    def _unlist(self, line: ReadyLine) -> None:
        if line in self._ready:
            del self._ready[line]
            self._ready_bytes -= line.size_bytes
        elif line in self._aside:
            del self._aside[line]
            self._aside_bytes -= line.size_bytes
