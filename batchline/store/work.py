"""The contract for rows, as `base`: what the dispatcher does, and housekeeping.

`Conduct` is about batches as a whole, `Leases` about who may send what, `Outcomes` about what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batchline.model import Accepted, Batch, Fault, File, FleetReport, Lease, Settlement, Slice
from batchline.states import BatchStatus
from batchline.store.records import Backlog, Changes, Claim

from .base import Lookup


class Conduct(Protocol):
    """The course of a batch from `validating` to `finalizing`, and what a dispatcher tells of itself."""

    async def changes(self, *, after: int | None) -> Changes:
        """Return the batches that changed after the change number `after`; with None, all open ones.

        A new batch, a status, a pause, a count and a death are changes, whichever process made them. One
        may be told of twice. Where `after` is too long ago to be known, all open ones are told. It costs
        what changed, however many are open (docs/decisions/018).
        """

    async def wait_for_work(self, *, timeout_s: float) -> None:
        """Return when something may have changed, or after `timeout_s`.

        That is: another process wrote, or here a batch was accepted, rejected or drained. It may be
        cancelled at any time, also when work comes.
        """

    async def begin(self, batch: Batch, *, holder: str) -> bool:
        """Note who works on a batch that is not in progress: there the leases tell.

        Drops slices of an earlier, torn admission. False if its status is another one by now.
        """

    async def add_slices(self, slices: Sequence[Slice]) -> bool:
        """Insert slices of one validating batch; False if it is no longer `validating`.

        Slices that are there stay: who admits it, too, cuts it alike.
        """

    async def accept(
        self,
        batch: Batch,
        *,
        total: int,
        model: str | None,
        now: int,
        slices: Sequence[Slice] = (),
    ) -> bool:
        """Validating → in_progress, with its number of lines, and with the last of its slices.

        False on a lost race: it is no longer `validating`, or another dispatcher began to admit it anew
        and has not added all of its slices.
        """

    async def reject(self, batch: Batch, faults: Sequence[Fault], *, now: int) -> bool:
        """Validating → failed, with its faults; False on a lost race."""

    async def break_batch(self, batch: Batch, fault: Fault, *, now: int) -> bool:
        """Any open state → failed: the batch can never end well (input lost). False if it has ended.

        Its slices are revoked, its segments become garbage.
        """

    async def set_aside(self, batch: Batch, fault: Fault, *, now: int) -> bool:
        """Pause a running batch on our own account, with the reason as its fault.

        False if it does not run, or is paused. Resuming forgets the reason.
        """

    async def lapse(self, *, now: int) -> list[str]:
        """in_progress → finalizing for batches whose `expires_at` has come; return their ids.

        Their slices are revoked.
        """

    async def report(self, report: FleetReport) -> None:
        """Publish what the dispatcher sees, instead of what was published before."""


class Leases(Protocol):
    """Who may do what, for a while: of roles one at a time, of slices each one.

    A holder names itself as `cell/incarnation`. A lease is its holder's until the store's clock has passed
    its end and somebody else has taken it.
    """

    async def hold(self, role: str, *, holder: str, ttl_s: float, take_over: bool = False) -> bool:
        """Take or renew the store-wide lease on `role`; False while another holder has it.

        `take_over` is for a holder that knows to be alone (it owns the host's lock).
        """

    async def claim_each(
        self, wanted: Sequence[tuple[Batch, int]], *, holder: str, ttl_s: float
    ) -> Claim:
        """Lease up to so many open slices of each batch, in the order given, each in file order.

        None of a batch that is paused or not in progress. Each claim has a token that no claim had
        before, higher than all. Lines that have an outcome are `Lease.done`. Leases of others that have
        lapsed are open again. One's own never lapse: a clock that jumped ahead is no reason to send
        their lines twice.
        """

    async def renew(self, leases: Sequence[Lease], *, ttl_s: float) -> set[tuple[int, int]]:
        """Prolong the leases; return those lost, as (batch_seq, first): revoked or claimed anew."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give unfinished slices back; leases lost meanwhile are left alone."""

    async def release_others(self, holder: str, keep: Sequence[Lease]) -> int:
        """Give back slices that this very holder leased and knows nothing of; return how many.

        Such are left by a claim whose answer was lost, and by leases that it could not renew in time.
        """

    async def recover(self, holder_prefix: str, *, died: bool) -> int:
        """Give back every slice leased by a holder with this prefix; return how many.

        Its process is known to be gone. If it `died`, that counts against the batches it worked on
        (`Batch.deaths`): those it leased slices of, and those it began.
        """


class Outcomes(Lookup, Protocol):
    """How lines ended, and the files that are made of it."""

    async def settle(
        self, settlements: Sequence[Settlement], *, now: int, is_repeated: bool = False
    ) -> Accepted:
        """Store outcomes, move counts and usage, close slices and drained batches, in one go.

        Outcomes whose slice no longer holds their token are left out; returns what was accepted.
        Raises AssertionError if an accepted line had an outcome already. Where the settle `is_repeated`
        after an error, that line is left out: the error may have come after the commit.
        """

    async def slices(self, batch: Batch) -> list[Slice]:
        """Return all slices in file order."""

    async def outcomes(self, batch: Batch, *, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (index, outcome code, segment number) for requests `start <= index < stop`, in order."""

    async def close(
        self, batch: Batch, end: BatchStatus, *, output: File | None, error: File | None, now: int
    ) -> bool:
        """Finalizing → completed or expired, cancelling → cancelled, with its files.

        False on a lost race. Its segments become garbage.
        """


class Work(Conduct, Leases, Outcomes, Protocol):
    """All that a dispatcher asks, but for housekeeping."""


class Upkeep(Protocol):
    """What housekeeping does, each call one short, bounded piece."""

    async def expire_files(self, *, now: int, limit: int) -> int:
        """Forget up to `limit` files past `expires_at`, leaving their bytes as garbage; return how many."""

    async def expire_uploads(self, *, now: int, limit: int) -> int:
        """Pending → expired for up to `limit` uploads past `expires_at`; return how many.

        Their parts, and what they are joined into, become garbage. Forgets uploads that have ended and
        whose `expires_at` is a day ago.
        """

    async def garbage(self, *, limit: int) -> list[str]:
        """Return up to `limit` blob keys (or prefixes ending in /) that nothing needs any more.

        An open batch needs its input, a file its bytes. None while somebody keeps bytes (`Engine`).
        """

    async def forget_garbage(self, keys: Sequence[str]) -> None:
        """Drop keys whose blobs are deleted."""

    async def prune(self, *, limit: int) -> int:
        """Drop rows of lines of batches that ended or are gone, at most `limit`; return how many."""

    async def drop_batches(self, *, ended_before: int, limit: int) -> int:
        """Forget up to `limit` batches that ended by then and are pruned, first those that ended first.

        Returns how many. Their result files go with them, but those that expire by themselves, and their
        input files stay.
        """

    async def identity(self) -> str:
        """Return what tells this database from any other: made with it, for ever."""

    async def note_unnamed(
        self, keys: Sequence[str], *, now: int, first_seen_before: int
    ) -> list[str]:
        """Note which of these blobs nothing names; return those noted first by `first_seen_before`.

        A file names its bytes. An open batch names its input, its segments and its results, a pending
        upload its parts. A result file names the finish index beside it, and garbage names itself and
        what lies below it.
        """

    async def forget_unnamed(self, keys: Sequence[str], *, seen_before: int) -> None:
        """Drop the notes about these blobs, and about those not noted again since `seen_before`."""

    async def backlog(self) -> Backlog:
        """Return what waits for housekeeping, and the sizes of the database."""

    async def vacuum(self, *, pages: int) -> int:
        """Give up to `pages` unused pages back to the disk; return how many, 0 where none is left."""

    async def checkpoint(self) -> bool:
        """Empty the write-ahead log and shorten its file; False if somebody was in the way.

        An engine that has no log to look after returns True.
        """
