"""Claims slices while lines are wanted, renews what is held, gives back what is left behind.

    claim ─► held ─► lines to `flight` ─► settled
A slice stays held (and its lease is renewed) until its last line is settled; that of a paused batch is
given back as soon as nothing of it is under way. Whose slice comes next is `schedule`'s decision.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from batchline.blobs import Blobs
from batchline.errors import NotFound, StoreUnavailable
from batchline.failpoints import failpoint
from batchline.lines import decode_requests
from batchline.model import Batch, Lease, request_id
from batchline.store import Work

from . import schedule
from .flight import Flight
from .held import Held, ReadyLine
from .settle import Pending

log = logging.getLogger(__name__)

_CLAIM_AT_MOST = 16  # slices a claim: one transaction feeds about 1,000 lines
_MOST_HELD = 4096  # lines of one batch: those that wait for their retry are in memory, too
_RENEW_AFTER = 1 / 3
_LEASE_MARGIN = 0.8


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """In whose name slices are claimed, for how long, of how many batches."""

    holder: str
    lease_s: float
    max_concurrent_batches: int


class Pump:
    """The slices held. What becomes of their lines is the flight's."""

    def __init__(
        self,
        store: Work,
        blobs: Blobs,
        flight: Flight,
        *,
        limits: ClaimLimits,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._flight = flight
        self._limits = limits
        self._held: dict[tuple[int, int], Held] = {}
        self._batches: list[Batch] = []
        self._exhausted: set[int] = set()
        self._refused: set[int] = set()  # by the store: there may be more to claim
        self._is_unsure = False
        self.broken: dict[int, str] = {}
        """Batches (by seq) whose input cannot be read any more, and why."""

    def update(self, running: Sequence[Batch]) -> None:
        """Take the batches that are in progress now; drop work of all others at once.

        Of those paused, what is in flight ends in peace and nothing more is sent.
        """
        alive = {b.seq for b in running}
        paused = {b.seq for b in running if b.paused_at is not None}
        for held in list(self._held.values()):
            if held.batch.seq not in alive:
                self._drop(held)
            elif held.batch.seq in paused:
                self._flight.leave(held)
        sending = [b for b in running if b.seq not in paused and b.seq not in self.broken]
        self._batches = schedule.admitted(sending, at_most=self._limits.max_concurrent_batches)
        self._exhausted.clear()
        self._refused.clear()
        if self._left_behind():
            self._flight.hungry.set()
        self._flight.keep_only({b.id for b in running})
        self._flight.kick()

    async def feed(self) -> None:
        """Claim slices whenever fewer lines are ready than will be needed soon; never returns."""
        hungry = self._flight.hungry
        while True:
            await hungry.wait()
            hungry.clear()
            await self._let_go(self._left_behind())
            while self._flight.room and (batch := self._choose()) is not None:
                self._flight.claimed(is_all=False)  # retries wait, however slow the claim
                try:
                    await self._claim(batch)
                except StoreUnavailable as exc:
                    log.warning("claiming waits: %s", exc)
                    self._refused.add(batch.seq)
            self._flight.claimed(is_all=self._flight.room > 0 and not self._refused)

    async def keep_leases(self) -> None:
        """Renew the leases held, drop those lost; never returns."""
        while True:
            await asyncio.sleep(self._limits.lease_s * _RENEW_AFTER)
            await self._renew()

    def settled(self, group: Sequence[Pending]) -> None:
        """Take note that these lines are durable (called by the settler)."""
        for batch, lease, _ in group:
            held = self._held.get((batch.seq, lease.slice.first))
            if held is None or held.lease.token != lease.token:
                continue
            held.left -= 1
            held.under_way -= 1
            if held.left == 0:
                del self._held[held.key]
        self._flight.hungry.set()

    # -- giving back

    def _left_behind(self) -> list[Held]:
        return [h for h in self._held.values() if h.is_leaving and not h.under_way]

    async def _let_go(self, left: Sequence[Held]) -> None:
        try:
            await self._release(left)
        except StoreUnavailable as exc:
            log.warning("slices of paused batches are given back later: %s", exc)

    async def _release(self, held: Sequence[Held]) -> None:
        if held:
            await self._store.release([h.lease for h in held])
        for item in held:
            if self._held.get(item.key) is item:
                del self._held[item.key]

    def _drop(self, held: Held) -> None:
        self._held.pop(held.key, None)
        # The store may still have it as ours, and for us our own leases never lapse.
        self._is_unsure = True
        self._flight.drop(held)

    # -- claiming

    def _choose(self) -> Batch | None:
        held: Counter[int] = Counter()
        for item in self._held.values():
            held[item.batch.seq] += item.left
        most = max(_MOST_HELD, 2 * self._flight.limit)
        without = self._exhausted | self._refused
        wanted = [
            b
            for b in self._batches
            if b.seq not in without and held[b.seq] < most and self._flight.wants(b)
        ]
        return schedule.choose(wanted, held)

    @property
    def batches(self) -> Sequence[Batch]:
        """The batches that lines are sent of."""
        return self._batches

    async def _claim(self, batch: Batch) -> None:
        if self._is_unsure:
            await self._give_back_unknown()
        try:
            await self._claim_slices(batch)
        except BaseException:
            self._is_unsure = True
            raise
        self._flight.kick()

    async def _claim_slices(self, batch: Batch) -> None:
        asked_at = time.monotonic()
        share = max(1, len(self._batches) - len(self._exhausted))
        count = min(_CLAIM_AT_MOST, max(1, self._flight.room // 64 // share))
        claim = await self._store.claim(
            batch, slices=count, holder=self._limits.holder, ttl_s=self._limits.lease_s
        )
        failpoint("claim.leased")
        if len(claim.leases) < count:
            self._exhausted.add(batch.seq)
        for taken, lease in enumerate(claim.leases):
            try:
                await self._take(batch, lease, asked_at + claim.ttl_s * _LEASE_MARGIN)
            except StoreUnavailable:
                await self._store.release(claim.leases[taken:])
                raise

    async def _give_back_unknown(self) -> None:
        """Give back what is leased to us and not in our hands: nobody else would for long."""
        held = [h.lease for h in self._held.values()]
        self._is_unsure = False  # what is dropped from here on is for the next time
        try:
            freed = await self._store.release_others(self._limits.holder, held)
        except BaseException:
            self._is_unsure = True
            raise
        if freed:
            log.info("took back %d slices that were leased to us and not in our hands", freed)

    async def _take(self, batch: Batch, lease: Lease, trusted_until: float) -> None:
        piece = lease.slice
        try:
            data = await self._blobs.read(
                batch.input_key, offset=piece.offset_bytes, length=piece.length_bytes
            )
            requests = decode_requests(data)
        except (NotFound, msgspec.DecodeError) as exc:
            self.broken[batch.seq] = f"The input file cannot be read any more: {exc}"
            return
        if len(requests) != piece.count:
            self.broken[batch.seq] = "The input file is not what was validated."
            return
        failpoint("claim.read")
        held = Held(batch, lease, piece.count - len(lease.done), trusted_until)
        self._held[held.key] = held
        self._flight.add(
            ReadyLine(held, index, request_id(batch.id, index), request.custom_id, request.body)
            for index, request in enumerate(requests, piece.first)
            if index not in lease.done
        )

    # -- leases

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        held = list(self._held.values())
        if not held:
            return
        try:
            lost = await self._store.renew([h.lease for h in held], ttl_s=self._limits.lease_s)
        except StoreUnavailable as exc:
            log.warning("leases are not renewed: %s", exc)
            lost = {h.key for h in held if h.trusted_until < time.monotonic()}
        else:
            for item in held:
                item.trusted_until = asked_at + self._limits.lease_s * _LEASE_MARGIN
        for key in lost:
            if (gone := self._held.get(key)) in held and gone is not None:
                self._drop(gone)
