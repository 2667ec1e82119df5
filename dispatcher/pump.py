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
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from batchline.blobs import Blobs
from batchline.errors import NotFound, StoreUnavailable
from batchline.failpoints import failpoint
from batchline.lines import decode_requests
from batchline.model import Batch, Lease, request_id
from batchline.store import Work

from .flight import Flight
from .held import Held, ReadyLine
from .schedule import Schedule
from .settle import Pending

log = logging.getLogger(__name__)

_CLAIM_AT_MOST = 16  # slices a claim: one transaction feeds about 1,000 lines
_MOST_HELD = 4096  # lines of one batch: those that wait for their retry are in memory, too
_RENEW_AFTER = 1 / 3
_LEASE_MARGIN = 0.8


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """In whose name slices are claimed, for how long, of how many batches at the same time."""

    holder: str
    lease_s: float
    max_concurrent_batches: int | None


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
        self._held_lines: Counter[int] = Counter()
        self._leaving: dict[tuple[int, int], Held] = {}
        self._batches: dict[int, Batch] = {}
        self._schedule = Schedule(at_most=limits.max_concurrent_batches, most_held=_MOST_HELD)
        self._exhausted: set[int] = set()
        self._refused: set[int] = set()  # by the store: there may be more to claim
        self._is_unsure = False
        self.broken: dict[int, str] = {}
        """Batches (by seq) whose input cannot be read any more, and why."""

    # -- which batches

    def run(self, batch: Batch) -> None:
        """Send lines of this batch from now on."""
        if batch.seq not in self._batches and batch.seq not in self.broken:
            self._batches[batch.seq] = batch
            self._ask_for(batch.seq)

    def pause(self, seq: int) -> None:
        """Send nothing more of this batch; what is in flight ends in peace, the rest is given back."""
        self._forget(seq)
        for held in self._held_of(seq):
            self._flight.leave(held)
            self._leaving[held.key] = held
            self._flight.hungry.set()

    def end(self, batch: Batch) -> None:
        """Drop all work of this batch at once, if there is any."""
        self._forget(batch.seq)
        for held in self._held_of(batch.seq):
            self._drop(held)
        self._flight.forget(batch.id)

    def look(self) -> None:
        """Try again what the store refused; `flight` sends what time has brought."""
        self._schedule.most_held = max(_MOST_HELD, 2 * self._flight.limit)
        refused, self._refused = self._refused, set()
        for seq in refused:
            self._ask_for(seq)
        if self._leaving or self._is_unsure:
            self._flight.hungry.set()
        self._flight.kick()

    @property
    def batches(self) -> Collection[Batch]:
        """The batches that lines are sent of."""
        return self._batches.values()

    def _forget(self, seq: int) -> None:
        self._batches.pop(seq, None)
        self._schedule.remove(seq)
        self._exhausted.discard(seq)
        self._refused.discard(seq)

    def _ask_for(self, seq: int) -> None:
        """Claim slices of a batch when its turn comes, if lines are sent of it."""
        if batch := self._batches.get(seq):
            self._exhausted.discard(seq)
            self._schedule.put(batch, held_lines=self._held_lines[seq])
            self._flight.hungry.set()

    def _ask_for_all(self) -> None:
        """Ask again for slices that were in other hands: they may have been given back."""
        for seq in list(self._exhausted):
            self._ask_for(seq)

    # -- loops

    async def feed(self) -> None:
        """Claim slices whenever fewer lines are ready than will be needed soon; never returns."""
        hungry = self._flight.hungry
        while True:
            await hungry.wait()
            hungry.clear()
            await self._let_go()
            while self._flight.room and (batch := self._choose()) is not None:
                self._flight.claimed(is_all=False)  # retries wait, however slow the claim
                try:
                    await self._claim(batch)
                except StoreUnavailable as exc:
                    log.warning("claiming waits: %s", exc)
                    self._schedule.remove(batch.seq)
                    self._refused.add(batch.seq)
            self._flight.claimed(is_all=self._flight.room > 0 and not self._refused)

    async def keep_leases(self) -> None:
        """Renew the leases held, drop those lost, look for those that others lost; never returns."""
        while True:
            await asyncio.sleep(self._limits.lease_s * _RENEW_AFTER)
            await self._renew()
            self._ask_for_all()

    def settled(self, group: Sequence[Pending]) -> None:
        """Take note that these lines are durable (called by the settler)."""
        touched: set[int] = set()
        for batch, lease, _ in group:
            held = self._held.get((batch.seq, lease.slice.first))
            if held is None or held.lease.token != lease.token:
                continue
            held.left -= 1
            held.under_way -= 1
            self._held_lines[batch.seq] -= 1
            touched.add(batch.seq)
            if held.left == 0:
                self._remove(held)
        for seq in touched:
            self._schedule.hold(seq, self._held_lines[seq])
        self._flight.hungry.set()

    # -- what is held

    def _held_of(self, seq: int) -> list[Held]:
        if seq not in self._held_lines:
            return []
        return [held for held in self._held.values() if held.batch.seq == seq]

    def _add(self, held: Held) -> None:
        self._held[held.key] = held
        self._held_lines[held.batch.seq] += held.left
        self._schedule.hold(held.batch.seq, self._held_lines[held.batch.seq])

    def _remove(self, held: Held) -> None:
        del self._held[held.key]
        self._leaving.pop(held.key, None)
        seq = held.batch.seq
        self._held_lines[seq] -= held.left
        if not self._held_lines[seq]:
            del self._held_lines[seq]
        self._schedule.hold(seq, self._held_lines[seq])

    # -- giving back

    async def _let_go(self) -> None:
        """Give back what nothing more is sent of, and what is leased to us and not in our hands."""
        try:
            await self._release([h for h in self._leaving.values() if not h.under_way])
            if self._is_unsure:
                await self._give_back_unknown()
        except StoreUnavailable as exc:
            log.warning("slices that nothing more is sent of are given back later: %s", exc)

    async def _release(self, left: Sequence[Held]) -> None:
        if not left:
            return
        await self._store.release([h.lease for h in left])
        for held in left:
            if self._held.get(held.key) is held:
                self._remove(held)
                self._ask_for(held.batch.seq)

    async def _give_back_unknown(self) -> None:
        """Give back what is leased to us and not in our hands: nobody else would for long."""
        held = [h.lease for h in self._held.values()]
        self._is_unsure = False  # what is dropped from here on is for the next time
        try:
            freed = await self._store.release_others(self._limits.holder, held)
        except BaseException:
            self._is_unsure = True
            raise
        self._ask_for_all()
        if freed:
            log.info("took back %d slices that were leased to us and not in our hands", freed)

    def _drop(self, held: Held) -> None:
        self._remove(held)
        # The store may still have it as ours, and for us our own leases never lapse.
        self._is_unsure = True
        self._flight.drop(held)
        self._flight.hungry.set()

    # -- claiming

    def _choose(self) -> Batch | None:
        while (batch := self._schedule.choose(self._flight.wants)) is not None:
            if not self._flight.holds_up(batch.seq):
                return batch
            self._set_aside(batch.seq)
        return None

    def _set_aside(self, seq: int) -> None:
        """Claim no slice of a batch until it is asked for again."""
        self._schedule.remove(seq)
        self._exhausted.add(seq)

    async def _claim(self, batch: Batch) -> None:
        try:
            await self._claim_slices(batch)
        except BaseException:
            self._is_unsure = True
            raise
        self._flight.kick()

    async def _claim_slices(self, batch: Batch) -> None:
        asked_at = time.monotonic()
        share = max(1, len(self._schedule))
        count = min(_CLAIM_AT_MOST, max(1, self._flight.room // 64 // share))
        claim = await self._store.claim(
            batch, slices=count, holder=self._limits.holder, ttl_s=self._limits.lease_s
        )
        failpoint("claim.leased")
        if len(claim.leases) < count and self._sends(batch):
            self._set_aside(batch.seq)
        for taken, lease in enumerate(claim.leases):
            try:
                is_taken = await self._take(batch, lease, asked_at + claim.ttl_s * _LEASE_MARGIN)
            except StoreUnavailable:
                await self._store.release(claim.leases[taken:])
                raise
            if not is_taken:
                await self._store.release(claim.leases[taken:])
                break

    def _sends(self, batch: Batch) -> bool:
        """Whether lines are sent of it still: it may have been paused or ended meanwhile."""
        return self._batches.get(batch.seq) is batch

    async def _take(self, batch: Batch, lease: Lease, trusted_until: float) -> bool:
        """Read the lines of a slice and have them sent; False where that is not wanted any more."""
        piece = lease.slice
        try:
            data = await self._blobs.read(
                batch.input_key, offset=piece.offset_bytes, length=piece.length_bytes
            )
            requests = decode_requests(data)
        except (NotFound, msgspec.DecodeError) as exc:
            return self._break(batch, f"The input file cannot be read any more: {exc}")
        if len(requests) != piece.count:
            return self._break(batch, "The input file is not what was validated.")
        failpoint("claim.read")
        if not self._sends(batch):
            return False
        held = Held(batch, lease, piece.count - len(lease.done), trusted_until)
        self._add(held)
        self._flight.add(
            ReadyLine(held, index, request_id(batch.id, index), request.custom_id, request.body)
            for index, request in enumerate(requests, piece.first)
            if index not in lease.done
        )
        return True

    def _break(self, batch: Batch, reason: str) -> bool:
        self.broken[batch.seq] = reason
        self._forget(batch.seq)
        return False

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
