"""The store's contract: narrow protocols over one database, one for each kind of user.

`Intake`, `Uploads`, `Results` and `Steering` for the gateway, `Work` and `Upkeep` for the dispatcher,
`View` for the dashboard. Every state change is one compare-and-set that names the old state: a lost race
is a return value, never an exception. No method leases or updates a single line. All raise
StoreUnavailable when the database refuses (locked, full). Time is an argument (integer Unix seconds); only
leases count inside the store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from batchline.api.uploads import Admission, Part, Upload
from batchline.model import (
    Accepted,
    Backlog,
    Batch,
    Changes,
    Claim,
    Fault,
    File,
    FleetReport,
    Lease,
    NewBatch,
    Overview,
    Page,
    Segment,
    SegmentRef,
    Settlement,
    Slice,
    UsedKey,
)
from batchline.states import BatchStatus


class Intake(Protocol):
    """What the gateway does: files and batches, as clients see them."""

    async def add_file(self, file: File) -> None:
        """Insert one file; its bytes are durable under `file.blob_key` already."""

    async def get_file(self, file_id: str, *, now: int) -> File | None:
        """Return the file, or None if unknown, deleted or expired at `now`."""

    async def list_files(
        self, *, now: int, after: str | None, limit: int, ascending: bool, purpose: str | None
    ) -> Page[File] | None:
        """Return one page by creation order; None if the cursor `after` is unknown.

        A file that is gone is a cursor still (the last 100,000 are), so that a walk may delete as it goes.
        """

    async def delete_file(self, file_id: str) -> bool:
        """Forget the file and leave its bytes to the sweep; False if there was none.

        Batches past validation keep their input bytes until they end.
        """

    async def add_batch(self, new: NewBatch) -> Batch:
        """Insert a batch in `validating` and return it."""

    async def add_batch_once(self, new: NewBatch, used: UsedKey) -> Batch | None:
        """Insert a batch together with the key that made it, or neither: None if the key is taken.

        Keys that have expired when the batch is created are free again, and are forgotten.
        """

    async def add_batch_noted(self, new: NewBatch, used: UsedKey) -> Batch:
        """Insert a batch and let the key stand for it from now on, whatever it stood for before."""

    async def used_key(self, key: str, *, now: int) -> UsedKey | None:
        """Return what the key was used for, or None if it never was or has expired."""

    async def get_batch(self, batch_id: str) -> Batch | None:
        """Return the batch, or None."""

    async def list_batches(
        self, *, after: str | None, limit: int, statuses: Collection[BatchStatus] = ()
    ) -> Page[Batch] | None:
        """Return one page, newest first, of those in `statuses` (none: of all).

        None if the cursor `after` is unknown. It may have any status, and be gone, as of files.
        """

    async def cancel_batch(self, batch_id: str, *, now: int) -> Batch | None:
        """Move an open batch to `cancelling`, revoking its slices; return it as it is afterwards.

        Idempotent. A batch that had ended is returned unchanged: the caller compares its status.
        """

    async def fleet_report(self) -> FleetReport | None:
        """Return what the dispatcher last reported, or None if none ever did."""

    async def check_writable(self) -> None:
        """Write something, durably, that changes nothing. Raises StoreUnavailable with the reason."""


class Work(Protocol):
    """What the dispatcher does: admit, claim, settle, publish."""

    async def hold(self, role: str, *, holder: str, ttl_s: float, take_over: bool = False) -> bool:
        """Take or renew the store-wide lease on `role`; False while another holder has it.

        `take_over` is for a holder that knows to be alone (it owns the host's lock).
        """

    async def changes(self, *, after: int | None) -> Changes:
        """Return the batches that changed after the change number `after`; with None, all open ones.

        Costs what changed, however many batches are open. A status, a pause, a count, a death and a new
        batch are changes. One may be told of twice.
        """

    async def get_batch(self, batch_id: str) -> Batch | None:
        """Return the batch, or None."""

    async def add_slices(self, slices: Sequence[Slice]) -> bool:
        """Insert slices of one validating batch; False if it is no longer `validating`."""

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

        False on a lost race: it is no longer `validating`, or another dispatcher began to admit it anew.
        """

    async def reject(self, batch: Batch, faults: Sequence[Fault], *, now: int) -> bool:
        """Validating → failed, with its faults; False on a lost race."""

    async def break_batch(self, batch: Batch, fault: Fault, *, now: int) -> bool:
        """Any open state → failed: the batch can never end well (input lost). False on a lost race."""

    async def claim_each(
        self, wanted: Sequence[tuple[Batch, int]], *, holder: str, ttl_s: float
    ) -> Claim:
        """Lease up to so many open slices of each running batch, in file order. None of one that is paused.

        Leases of others that have lapsed are open again. One's own never lapse: who holds them knows,
        and a clock that jumped ahead is no reason to send their lines twice.
        """

    async def renew(self, leases: Sequence[Lease], *, ttl_s: float) -> set[tuple[int, int]]:
        """Prolong the leases; return those lost, as (batch_seq, first): revoked or claimed anew."""

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give unfinished slices back; leases lost meanwhile are left alone."""

    async def begin(self, batch: Batch, *, holder: str) -> bool:
        """Note who works on a batch that is not in progress: there the leases tell.

        Drops slices of an earlier, torn admission. False if its status is another one by now.
        """

    async def recover(self, holder_prefix: str, *, died: bool) -> int:
        """Give back every slice leased by a holder with this prefix: its process is known to be gone.

        If it `died`, that counts against the batches it worked on (`Batch.deaths`). Returns how many slices.
        """

    async def release_others(self, holder: str, keep: Sequence[Lease]) -> int:
        """Give back slices that this very holder leased and knows nothing of; return how many.

        Such are left by a claim whose answer was lost, and by leases that it could not renew in time.
        """

    async def set_aside(self, batch: Batch, fault: Fault, *, now: int) -> bool:
        """Pause a running batch on our own account, with the reason as its fault; resuming forgets it."""

    async def settle(
        self, settlements: Sequence[Settlement], *, now: int, is_repeated: bool = False
    ) -> Accepted:
        """Store outcomes, move counts and usage, close slices and drained batches, in one go.

        Outcomes whose slice no longer holds their token are left out; returns what was accepted.
        Raises AssertionError if an accepted line had an outcome already; where the settle `is_repeated`
        after an error, that line is left out too: the error may have come after the commit.
        """

    async def lapse(self, *, now: int) -> list[str]:
        """in_progress → finalizing for batches past `expires_at`, revoking slices; return ids."""

    async def slices(self, batch: Batch) -> list[Slice]:
        """Return all slices in file order."""

    async def segments(self, batch: Batch) -> list[tuple[int, SegmentRef]]:
        """Return (segment number, reference) of everything settled for the batch, oldest first."""

    async def outcomes(self, batch: Batch, *, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (index, outcome code, segment number) for requests `start <= index < stop`, in order."""

    async def close(
        self, batch: Batch, end: BatchStatus, *, output: File | None, error: File | None, now: int
    ) -> bool:
        """Finalizing → completed or expired, cancelling → cancelled, with files; False on a lost race."""

    async def report(self, report: FleetReport) -> None:
        """Publish what the dispatcher sees, for the gateway and the dashboard."""

    async def wait_for_work(self, *, timeout_s: float) -> None:
        """Return when something may have changed, or after `timeout_s`.

        That is: another process wrote, or a batch changed its status through this store.
        """


class Results(Protocol):
    """What reading a batch's results takes, while it runs and after it has ended.

    Lines are numbered from 1 by when they finished. Rows of an ended batch go piece by piece: what is
    read of them holds only if the batch is open afterwards.
    """

    async def get_batch(self, batch_id: str) -> Batch | None:
        """Return the batch, or None."""

    async def get_file(self, file_id: str, *, now: int) -> File | None:
        """Return the file, or None if unknown, deleted or expired at `now`."""

    async def segments_after(self, batch: Batch, *, number: int, limit: int) -> list[Segment]:
        """Return the segments with lines numbered above `number`, by number; the first may have both."""

    async def lines_of_segment(
        self, batch: Batch, *, segment: int, lines: Sequence[int]
    ) -> set[int]:
        """Return those of `lines` whose outcome lies in the segment."""

    async def finished_lines(
        self, batch: Batch, *, start: int, limit: int
    ) -> list[tuple[int, int, Segment]]:
        """Return (index, outcome code, segment) of finished lines `index >= start`, in input order."""


class Uploads(Protocol):
    """What the gateway does with uploads in parts. Past `expires_at` an upload is not pending."""

    async def add_upload(self, upload: Upload) -> None:
        """Insert one pending upload."""

    async def get_upload(self, upload_id: str, *, now: int) -> Upload | None:
        """Return the upload, or None if unknown or ended long ago."""

    async def add_part(self, part: Part, *, now: int, max_bytes: int) -> Admission:
        """Add a part to a pending upload; its bytes are durable already.

        The caller deletes them unless TAKEN. `max_bytes` bounds all parts of the upload together.
        """

    async def parts(self, upload_id: str) -> Sequence[Part]:
        """Return the parts of a pending upload, in no particular order."""

    async def begin_join(self, upload_id: str, key: str, *, now: int) -> bool:
        """Announce that the parts are being joined into the blob `key`; False if not pending.

        Fences off whoever announced another key before: that blob becomes garbage.
        """

    async def complete_upload(self, upload_id: str, file: File) -> bool:
        """Pending → completed with its file, whose blob is durable; the parts become garbage.

        False on a lost race: it has ended, or others began to join into another blob.
        """

    async def cancel_upload(self, upload_id: str, *, now: int) -> bool:
        """Pending → cancelled, its parts becoming garbage; False on a lost race."""


class Steering(Protocol):
    """What the gateway does with batches beyond OpenAI's API."""

    async def pause_batch(self, batch_id: str, *, now: int) -> Batch | None:
        """Let none of its lines be claimed from now on; return the batch as it is afterwards.

        Idempotent: it keeps the time of the first pause. A batch that is not `PAUSABLE` is returned
        unchanged: the caller compares its status.
        """

    async def resume_batch(self, batch_id: str) -> Batch | None:
        """Take a pause back; return the batch as it is afterwards. Idempotent, as `pause_batch`."""

    async def delete_batch(self, batch_id: str) -> bool:
        """Forget a batch that has ended, its result files, and its input file if no other names it.

        Their bytes become garbage, rows of its lines are pruned later. False if there is no such batch
        or it is open.
        """

    async def add_retry(self, file: File, new: NewBatch, used: UsedKey | None) -> Batch | None:
        """Insert a file, the batch over it and the key it was asked for with, or none of them.

        The file's bytes are durable. None if the key is taken.
        """


class View(Protocol):
    """What the dashboard asks."""

    async def overview(self, *, finished_limit: int, now: int) -> Overview:
        """Return the open batches (oldest first), the last finished, the fleet and the storage."""

    async def get_batch(self, batch_id: str) -> Batch | None:
        """Return the batch, or None."""

    async def check_writable(self) -> None:
        """Write something, durably, that changes nothing. Raises StoreUnavailable with the reason."""


class Upkeep(Protocol):
    """What housekeeping does, each call one short, bounded piece."""

    async def expire_files(self, *, now: int, limit: int) -> int:
        """Forget files past `expires_at`, leaving their bytes as garbage; return how many."""

    async def expire_uploads(self, *, now: int, limit: int) -> int:
        """Pending → expired for uploads past `expires_at`, parts becoming garbage; return how many.

        Forgets uploads that ended more than a day ago.
        """

    async def garbage(self, *, limit: int) -> list[str]:
        """Return blob keys (or prefixes ending in /) that nothing needs any more.

        None while somebody keeps bytes (`custody`).
        """

    async def forget_garbage(self, keys: Sequence[str]) -> None:
        """Drop keys whose blobs are deleted."""

    async def prune(self, *, limit: int) -> int:
        """Drop rows of lines of batches that ended, at most about `limit`; return how many."""

    async def drop_batches(self, *, ended_before: int, limit: int) -> int:
        """Forget batches that ended by then and are pruned; return how many.

        Their result files go with them, but those that expire by themselves.
        """

    async def identity(self) -> str:
        """Return what tells this database from any other: made with it, for ever."""

    async def suspect(self, keys: Sequence[str], *, now: int, first_seen_before: int) -> list[str]:
        """Note which of these blobs nothing names; return those noted first by `first_seen_before`."""

    async def forget_suspects(self, keys: Sequence[str], *, seen_before: int) -> None:
        """Drop the notes about these blobs, and about those not noted again since `seen_before`."""

    async def backlog(self) -> Backlog:
        """Return what waits for housekeeping, and the sizes of the database."""

    async def vacuum(self, *, pages: int) -> int:
        """Give up to `pages` unused pages back to the disk; return how many."""

    async def checkpoint(self) -> bool:
        """Empty the write-ahead log and shorten its file; False if somebody was in the way."""


class Store(Intake, Uploads, Results, Steering, Work, View, Upkeep, Protocol):
    """All of them: what an engine implements and the conformance suite exercises."""

    async def close_store(self) -> None:
        """Close the connections; nothing may be called afterwards."""
