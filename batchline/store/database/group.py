"""Group commit: what waits for the writer at the same time becomes one transaction, with one sync for all.

Each piece of work has a savepoint: one that fails takes nothing back but its own. What they did is durable
together, or not at all where the transaction itself fails, and then each of them fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from .direct import Direct

_MOST = 32
"""So many in one transaction: others, of other processes too, wait for its end."""

T = TypeVar("T")


class Piece(Generic[T]):
    """One piece of work, and what came of it."""

    def __init__(self, work: Callable[[Direct], T]) -> None:
        self._work = work
        self._found: list[T] = []
        self._error: BaseException | None = None
        self.is_taken = False
        """A transaction was begun for it."""

    @property
    def is_done(self) -> bool:
        """Whether the transaction has ended."""
        return bool(self._found) or self._error is not None

    def result(self) -> T:
        """Return what the work returned, or raise what it, or its transaction, raised."""
        if self._error is not None:
            raise self._error
        return self._found[0]

    def do(self, connection: sqlite3.Connection) -> T:
        """Do the work."""
        return self._work(Direct(connection))

    def do_apart(self, connection: sqlite3.Connection) -> T | None:
        """Do the work beside others: if it fails, only it does. Raises where the transaction is lost."""
        connection.execute("SAVEPOINT piece")
        try:
            found = self.do(connection)
        except BaseException as exc:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO piece")
            connection.execute("RELEASE piece")
            self.fail(exc)
            return None
        connection.execute("RELEASE piece")
        return found

    def succeed(self, found: T) -> None:
        """Note what it returned, now that it is durable."""
        if self._error is None:
            self._found.append(found)

    def fail(self, error: BaseException) -> None:
        """Note why it was not done."""
        self._error = error


class Queue:
    """The pieces that wait."""

    def __init__(self) -> None:
        self._waiting: list[Piece[object]] = []

    def add(self, piece: Piece[T]) -> None:
        """Put a piece behind the others."""
        self._waiting.append(piece)  # type: ignore[arg-type]

    def take(self) -> Sequence[Piece[object]]:
        """Take the first pieces, for one transaction."""
        group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        for piece in group:
            piece.is_taken = True
        return group

    def leave(self, piece: Piece[T]) -> None:
        """Take out a piece that nobody waits for any more, unless it was begun."""
        if not piece.is_taken:
            self._waiting.remove(piece)  # type: ignore[arg-type]


def do_all(
    group: Sequence[Piece[object]],
    connection: sqlite3.Connection,
    begin: Callable[[sqlite3.Connection], None],
) -> None:
    """Do the pieces as one durable transaction; each tells its own result. Raises nothing."""
    try:
        begin(connection)
        alone = len(group) == 1
        found = [piece.do(connection) if alone else piece.do_apart(connection) for piece in group]
        connection.execute("COMMIT")
    except BaseException as exc:  # noqa: BLE001 - each piece raises it where it is waited for
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for piece in group:
            piece.fail(exc)
    else:
        for piece, one in zip(group, found, strict=True):
            piece.succeed(one)
