"""The contract for rows, for all engines: narrow protocols over one database, one for each kind of user.

Here are those of the gateway and the dashboard; the dispatcher's are in `work`, that of `fsck` and `backup`
in `audit`. `engine` puts them together, and says what holds for all. `tests/store/` holds each engine to
every sentence of methods and, below their first line, of classes. Every state change is one
compare-and-set that names the old state. No method leases or updates a single line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from batchline.api.upload_rules import MAX_PARTS, Admission, Part, Upload
from batchline.model import Batch, File, FleetReport, NewBatch, Segment, UsedKey
from batchline.states import BatchStatus
from batchline.store.records import Overview, Page


class Lookup(Protocol):
    """What more than one kind of user asks."""

    async def get_batch(self, batch_id: str) -> Batch | None:
        """Return the batch as it is now, or None if there is none."""

    async def get_file(self, file_id: str, *, now: int) -> File | None:
        """Return the file, or None if unknown, deleted or expired at `now`."""

    async def segments(
        self, batch: Batch, *, after: int = 0, limit: int | None = None
    ) -> list[Segment]:
        """Return the segments that hold lines numbered above `after`, by number, at most `limit`.

        Lines are numbered from 1 by when they were settled; `Segment` tells the numbers of its own.
        """


class Intake(Lookup, Protocol):
    """Files and batches, as clients see and steer them."""

    async def add_file(self, file: File) -> None:
        """Insert one file, whose bytes are durable under `file.blob_key` already."""

    async def list_files(
        self, *, now: int, after: str | None, limit: int, ascending: bool, purpose: str | None
    ) -> Page[File] | None:
        """Return one page in the order of creation, newest first unless `ascending`.

        It has no file that is expired at `now` or belongs to a response, and with `purpose` only files
        of that. It begins behind the file `after`; None if that is unknown. A file that is gone is a
        cursor still (the last 100,000 are), so that a walk may delete as it goes.
        """

    async def delete_file(self, file_id: str) -> bool:
        """Forget the file and leave its bytes to the sweep; False if there was none.

        With the last result file of a batch goes its finish index.
        """

    async def add_batch(
        self,
        new: NewBatch,
        *,
        file: File | None = None,
        key: UsedKey | None = None,
        replaces_key: bool = False,
    ) -> Batch | None:
        """Insert a batch in `validating` and return it, with the `file` that it runs over and its `key`.

        All of them or none: None if the key is taken. A key that has expired when the batch is created
        is free again, and is forgotten. With `replaces_key` the key stands for this batch from now on,
        whatever it stood for before.
        """

    async def used_key(self, key: str, *, now: int) -> UsedKey | None:
        """Return what the key was used for, or None if it never was or has expired at `now`."""

    async def list_batches(
        self, *, after: str | None, limit: int, statuses: Collection[BatchStatus] = ()
    ) -> Page[Batch] | None:
        """Return one page, newest first, of the batches in `statuses` (none: of all).

        It has no responses. It begins behind the batch `after`; None if that is unknown. That batch may
        have any status, and be gone, as of files.
        """

    async def list_batches_of(
        self, endpoint: str, *, after: str | None = None, before: str | None = None, limit: int
    ) -> Page[Batch] | None:
        """Return one page, newest first, of the batches for one endpoint.

        It begins behind the batch `after`, or ends just before the batch `before`: `has_more` tells
        whether there are more in that direction. None if the batch that is named is unknown; it may be
        of any endpoint, and be gone, as of files.
        """

    async def cancel_batch(self, batch_id: str, *, now: int) -> Batch | None:
        """Move an open batch to `cancelling` and revoke its slices; return it as it is afterwards.

        None if there is no such batch. Revoked slices are neither claimed nor settled any more.
        Idempotent: the time of the first call stays. A batch that has ended is returned unchanged.
        """

    async def pause_batch(self, batch_id: str, *, now: int) -> Batch | None:
        """Let none of its lines be claimed from now on; return the batch as it is afterwards.

        None if there is no such batch. What is leased can be settled still. Idempotent: it keeps the
        time of the first pause. A batch that is not `PAUSABLE` is returned unchanged.
        """

    async def resume_batch(self, batch_id: str) -> Batch | None:
        """Take a pause back, with its reason; return the batch as it is afterwards.

        It notes how many lines were finished and had failed by then. None if there is no such batch; one
        that is not paused is returned unchanged.
        """

    async def delete_batch(self, batch_id: str) -> bool:
        """Forget a batch that has ended, its result files, and its input file if no other names it.

        Their bytes become garbage, rows of its lines are pruned later. False if there is no such batch
        or it is open.
        """


class Uploads(Protocol):
    """Uploads in parts.

    Past `expires_at` an upload is not pending, whether `expire_uploads` came or not.
    """

    async def add_upload(self, upload: Upload) -> None:
        """Insert one pending upload."""

    async def get_upload(self, upload_id: str, *, now: int) -> Upload | None:
        """Return the upload as it is at `now`, or None if it is unknown or forgotten."""

    async def add_part(
        self, part: Part, *, now: int, max_bytes: int, max_parts: int = MAX_PARTS
    ) -> Admission:
        """Add a part to a pending upload; its bytes are durable already.

        The caller deletes them unless TAKEN. `max_bytes` and `max_parts` bound all parts of the upload
        together: FULL is what would exceed them. CLOSED is an upload that is not pending.
        """

    async def parts(self, upload_id: str) -> Sequence[Part]:
        """Return the parts that were taken, in no particular order; none once the upload has ended."""

    async def begin_join(self, upload_id: str, key: str, *, now: int) -> bool:
        """Announce that the parts are being joined into the blob `key`; False if not pending.

        Fences off whoever announced another key before: that blob becomes garbage.
        """

    async def complete_upload(self, upload_id: str, file: File) -> bool:
        """Pending → completed with its file, whose blob is durable; the parts become garbage.

        False on a lost race: it has ended, or others began to join into another blob.
        """

    async def cancel_upload(self, upload_id: str, *, now: int) -> bool:
        """Pending → cancelled, the parts and what they are joined into becoming garbage.

        False on a lost race: it has ended.
        """


class Results(Lookup, Protocol):
    """What reading a batch's results takes, while it runs and after it has ended.

    Rows of an ended batch go piece by piece: what is read holds only if the batch is open afterwards.
    """

    async def lines_of_segment(
        self, batch: Batch, *, segment: int, lines: Sequence[int]
    ) -> set[int]:
        """Return those of `lines` whose outcome lies in the segment of that number."""

    async def finished_lines(
        self, batch: Batch, *, start: int, limit: int
    ) -> list[tuple[int, int, Segment]]:
        """Return (index, outcome code, segment) of finished lines `index >= start`, in input order.

        At most `limit`, and of them the first.
        """


class View(Protocol):
    """How everything is: for the dashboard and those who ask after our health."""

    async def overview(self, *, finished_limit: int, deliveries_limit: int = 0) -> Overview:
        """Return the open batches, oldest first, the files, the last report, and the database's size.

        And so many of those that have ended and are no responses, the last created first. And the
        outbox, with so many of the deliveries made last, and of those that wait.
        """

    async def fleet_report(self) -> FleetReport | None:
        """Return what the dispatcher last reported, or None if none ever did."""

    async def check_writable(self) -> None:
        """Write something, durably, that changes nothing."""
