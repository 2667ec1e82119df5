"""Claims slices while lines are wanted, renews what is held, gives back what is left behind.

    claim ─► held ─► lines to `flight` ─► settled
A slice stays held (and its lease is renewed) until its last line is settled; that of a paused batch is
given back as soon as nothing of it is under way. Whose slice comes next is `schedule`'s decision.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.jsonl.input_file import SLICE_LINES
from batchline.model import Batch, Lease, request_id
from batchline.process.failpoints import failpoint
from batchline.store import Leases
from batchline.store.records import Claim
from dispatcher.attempts.leased_slices import Held, ReadyLine

from .bodies import Bodies, Placed
from .flight import Flight
from .memory import Memory
from .schedule import Schedule
from .settle import Pending, Settler

log = logging.getLogger(__name__)

_SLICES_A_CLAIM = 16  # of one batch: one transaction feeds about 1,000 lines
_BATCHES_A_CLAIM = 16
_LONG_SLICE_BYTES = 1 << 20  # of shorter ones a claim may take too many: they are given back
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
        store: Leases,
        bodies: Bodies,
        flight: Flight,
        *,
        settler: Settler,
        memory: Memory,
        limits: ClaimLimits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._flight = flight
        self._memory = memory
        self._limits = limits
        self._clock = clock
        self._held: dict[tuple[int, int], Held] = {}
        self._held_lines: Counter[int] = Counter()
        self._leaving: dict[tuple[int, int], Held] = {}
        self._batches: dict[int, Batch] = {}
        self._schedule = Schedule(at_most=limits.max_concurrent_batches, most_held=_MOST_HELD)
        self._exhausted: set[int] = set()
        self._refused: set[int] = set()  # by the store: there may be more to claim
        self._is_unsure = False
        self._slice_bytes: dict[int, int] = {}  # of batches with long lines: of one slice, so far
        settler.subscribe(self._note_settled)

    @property
    def broken(self) -> dict[int, str]:
        """Batches (by seq) whose input cannot be read any more, and why."""
        return self._bodies.broken

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
            held.leave()
            self._leaving[held.key] = held
            self._flight.wants_lines.set()

    def end(self, batch: Batch) -> None:
        """Drop all work of this batch at once, if there is any."""
        self._forget(batch.seq)
        self.broken.pop(batch.seq, None)
        self._slice_bytes.pop(batch.seq, None)
        for held in self._held_of(batch.seq):
            self._drop(held)
        self._flight.forget(batch.id)

    def look(self) -> None:
        """Try again what the store refused; `flight` sends what time has brought."""
        self._schedule.set_most_held(max(_MOST_HELD, 2 * self._flight.limit))
        refused, self._refused = self._refused, set()
        for seq in refused:
            self._ask_for(seq)
        if self._leaving or self._is_unsure:
            self._flight.wants_lines.set()
        self._flight.dispatch()

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
            self._flight.wants_lines.set()

    def _ask_for_all(self) -> None:
        """Ask again for slices that were in other hands: they may have been given back."""
        for seq in list(self._exhausted):
            self._ask_for(seq)

    # -- loops

    async def feed(self) -> None:
        """Claim slices whenever fewer lines are ready than will be needed soon; never returns."""
        wants_lines = self._flight.wants_lines
        while True:
            await wants_lines.wait()
            wants_lines.clear()
            await self._let_go()
            while picked := self._pick():
                self._flight.record_claim(is_all=False)  # retries wait, however slow the claim
                try:
                    await self._claim(picked)
                except StoreUnavailable as exc:
                    log.warning("claiming waits: %s", exc)
                    for batch, _ in picked:
                        self._schedule.remove(batch.seq)
                        self._refused.add(batch.seq)
            self._flight.record_claim(is_all=self._flight.room > 0 and not self._may_claim_more())

    async def keep_leases(self) -> None:
        """Renew the leases held, drop those lost, look for those that others lost; never returns."""
        while True:
            await self._clock.sleep(self._limits.lease_s * _RENEW_AFTER)
            await self._renew()
            self._ask_for_all()

    def _note_settled(self, group: Sequence[Pending]) -> None:
        """Take note that these lines are durable."""
        touched: set[int] = set()
        for batch, lease, _ in group:
            held = self._held.get((batch.seq, lease.slice.first))
            if held is None or held.lease.token != lease.token:
                continue
            held.left -= 1
            held.settling -= 1
            self._held_lines[batch.seq] -= 1
            touched.add(batch.seq)
            if held.left == 0:
                self._remove(held)
        for seq in touched:
            self._schedule.hold(seq, self._held_lines[seq])
        self._flight.wants_lines.set()

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
        self._memory.free_all(held)
        seq = held.batch.seq
        self._held_lines[seq] -= held.left
        if not self._held_lines[seq]:
            del self._held_lines[seq]
        self._schedule.hold(seq, self._held_lines[seq])

    # -- giving back

    async def _let_go(self) -> None:
        """Give back what nothing more is sent of, and what is leased to us and not in our hands."""
        try:
            await self._release([h for h in self._leaving.values() if h.is_quiet])
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
        held.drop()
        self._flight.wants_lines.set()

    # -- claiming

    def _choose(self) -> Batch | None:
        return self._schedule.choose(self._flight.wants)

    def _may_claim_more(self) -> bool:
        return bool(self._refused) or self._choose() is not None

    def _pick(self) -> list[tuple[Batch, int]]:
        """Choose of which batches to claim how many slices, for about as much as there is room for."""
        share, room, free = max(1, len(self._schedule)), self._flight.room, self._memory.free_bytes
        picked: dict[int, tuple[Batch, int]] = {}
        while room > 0 and len(picked) < _BATCHES_A_CLAIM:
            batch = self._choose()
            if batch is None or batch.seq in picked:
                break
            slice_bytes = self._slice_bytes.get(batch.seq, 1)
            if slice_bytes > free and not (self._memory.is_idle and not picked):
                break  # it waits for room, and others behind it: else it would wait for ever
            slices = min(_SLICES_A_CLAIM, max(1, room // SLICE_LINES // share))
            slices = max(1, min(slices, free // slice_bytes))
            free -= slices * slice_bytes
            lines = min(slices * SLICE_LINES, max(1, batch.counts.total - batch.counts.finished))
            room -= lines
            picked[batch.seq] = batch, slices
            self._schedule.hold(batch.seq, self._held_lines[batch.seq] + lines)  # until it is known
        return list(picked.values())

    async def _claim(self, picked: Sequence[tuple[Batch, int]]) -> None:
        asked_at = self._clock.monotonic()
        try:
            claim = await self._store.claim_each(
                picked, holder=self._limits.holder, ttl_s=self._limits.lease_s
            )
            failpoint("claim.leased")
            self._note_exhausted(picked, claim)
            await self._take(picked, claim, asked_at + claim.ttl_s * _LEASE_MARGIN)
        except BaseException:
            self._is_unsure = True
            raise
        finally:
            for batch, _ in picked:
                self._schedule.hold(batch.seq, self._held_lines[batch.seq])
        self._flight.dispatch()

    def _note_exhausted(self, picked: Sequence[tuple[Batch, int]], claim: Claim) -> None:
        got = Counter(lease.slice.batch_seq for lease in claim.leases)
        for batch, slices in picked:
            if got[batch.seq] < slices and self._sends(batch):
                self._schedule.remove(batch.seq)
                self._exhausted.add(batch.seq)

    async def _take(
        self, picked: Sequence[tuple[Batch, int]], claim: Claim, trusted_until: float
    ) -> None:
        """Read the lines of the slices and have them sent; give back what is not wanted."""
        batches = {batch.seq: batch for batch, _ in picked}
        left = [(batches[lease.slice.batch_seq], lease) for lease in claim.leases]
        wanted = self._fitting(left)
        unwanted = left[len(wanted) :]
        done = 0
        try:
            async for requests in self._bodies.read(wanted):
                batch, lease = wanted[done]
                done += 1
                if requests is None:
                    self._forget(batch.seq)
                if requests is None or not self._sends(batch):
                    unwanted.append((batch, lease))
                else:
                    self._accept(Held(batch, lease, 0, trusted_until), requests)
        finally:
            await self._return(unwanted + wanted[done:])

    def _fitting(self, claimed: Sequence[tuple[Batch, Lease]]) -> list[tuple[Batch, Lease]]:
        """Return the first of what was claimed, as far as there is room; one slice may always go alone."""
        free = self._memory.free_bytes
        fitting: list[tuple[Batch, Lease]] = []
        for batch, lease in claimed:
            length = lease.slice.length_bytes
            if length > _LONG_SLICE_BYTES:
                self._slice_bytes[batch.seq] = length
            if length > free and not (self._memory.is_idle and not fitting):
                self._slice_bytes[batch.seq] = (
                    length  # it is not claimed again before there is room
                )
                break
            free -= length
            fitting.append((batch, lease))
        return fitting

    async def _return(self, unwanted: Sequence[tuple[Batch, Lease]]) -> None:
        if unwanted:
            await self._store.release([lease for _, lease in unwanted])
        for batch, _ in unwanted:
            self._ask_for(batch.seq)

    def _sends(self, batch: Batch) -> bool:
        """Whether lines are sent of it still: it may have been paused or ended meanwhile."""
        return self._batches.get(batch.seq) is batch

    def _accept(self, held: Held, requests: Sequence[Placed]) -> None:
        """Have the lines of a slice sent that have no outcome yet."""
        batch, lease = held.batch, held.lease
        for index, (start, length, request) in enumerate(requests, lease.slice.first):
            if index in lease.done:
                continue
            body = bytes(request.body)
            line = ReadyLine(
                held,
                index,
                request_id(batch.id, index),
                request.custom_id,
                body,
                size_bytes=len(body),
                offset_bytes=lease.slice.offset_bytes + start,
                length_bytes=length,
            )
            held.lines.append(line)
            self._memory.read_ahead(line)
        held.left = len(held.lines)
        self._add(held)
        self._flight.add(held.lines)

    # -- leases

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        held = list(self._held.values())
        if not held:
            return
        try:
            lost = await self._store.renew([h.lease for h in held], ttl_s=self._limits.lease_s)
        except StoreUnavailable as exc:
            log.warning("leases are not renewed: %s", exc)
            lost = {h.key for h in held if h.trusted_until < self._clock.monotonic()}
        else:
            for item in held:
                item.trusted_until = asked_at + self._limits.lease_s * _LEASE_MARGIN
        for key in lost:
            if (gone := self._held.get(key)) in held and gone is not None:
                self._drop(gone)
