"""What an engine is: the store with all its protocols, a store under repair, and the five ways in.

Whoever writes one implements `Engine` as a package beside `sqlite`, and adds it to `tests/store/engines.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from batchline.model import Batch, FleetReport, Slice

from .audit import Audit
from .base import Intake, Results, Uploads, View
from .webhooks import Endpoints, Outbox
from .work import Upkeep, Work


class Store(Intake, Uploads, Results, View, Work, Upkeep, Endpoints, Outbox, Protocol):
    """All of the contract over one database.

    A lost race is a return value, never an exception. What a call has done is durable when it returns, and
    other processes see it. Whatever reads or writes rows raises StoreUnavailable where the database
    refuses. Time is an argument in integer Unix seconds; only leases go by the store's own clock. No stamp
    of a batch precedes the one before it, whatever `now` says.
    """


class Mending(Store, Protocol):
    """A store that nobody else has open, and its repairs, each one transaction.

    Only here counts may go down, and an ended state may be left.
    """

    async def reindex(self) -> None:
        """Make all indexes anew; no row changes."""

    async def recount(self, batch: Batch, *, without: Collection[int], now: int) -> int:
        """Bring all counts of an open batch in line with its outcomes; return how many lines reopened.

        Outcomes without a segment or a slice go first, and those of the segments numbered `without`.
        A finalizing batch with such lines runs again, unless it lapsed; one without open lines drains.
        """

    async def recut(self, batch: Batch, slices: Sequence[Slice]) -> None:
        """Replace all slices of an open batch; `recount` must follow."""

    async def drop_ownerless(self, batch_seq: int) -> int:
        """Drop rows of lines that no slice leads to; return how many."""

    async def raise_token(self, least: int) -> None:
        """Let fencing tokens go on above `least`, and never go back."""


class Engine(Protocol):
    """One kind of database.

    A database that cannot be opened raises StoreUnavailable.
    """

    def open_store(
        self, path: Path, *, clock_ms: Callable[[], int]
    ) -> AbstractAsyncContextManager[Store]:
        """Open the database at `path`, which is made or migrated if needed. `clock_ms` counts leases.

        Raises NewerStore where a newer version wrote it.
        """

    def open_audit(self, path: Path) -> AbstractAsyncContextManager[Audit]:
        """See the database at `path` as it is now; one of an older schema as it would be migrated."""

    def open_mending(
        self, path: Path, *, clock_ms: Callable[[], int]
    ) -> AbstractAsyncContextManager[Mending]:
        """Open the database at `path`, which nobody else may have open, for repairs."""

    def bytes_kept(
        self, path: Path, *, clock_ms: Callable[[], int]
    ) -> AbstractAsyncContextManager[None]:
        """Keep all bytes that the database at `path` names while the body runs.

        Several may at a time. Whoever is killed keeps them for half a minute more at most.
        """

    def last_report(self, path: Path) -> FleetReport | None:
        """Return what a dispatcher last reported to the database at `path`, without opening a store."""
