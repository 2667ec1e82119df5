"""Claims what fits, sends it, renews what is held. The heart of dispatch.

    claim ─► ready lines ─► in flight ─► settled
               ▲   │            │ retry: later, no backend: when the gate opens
               └───┴────────────┘
A slice stays held (and its lease is renewed) until its last line is settled; that of a paused batch is
given back as soon as nothing of it is under way. Whose slice comes next is
`schedule`'s decision, what a reply means is `verdict`'s, how many may fly is `governor`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from tenacity import RetryCallState, wait_random_exponential

from batchline.blobs import Blobs
from batchline.errors import NotFound, StoreUnavailable
from batchline.failpoints import failpoint
from batchline.lines import answer_record, decode_requests, error_record
from batchline.metrics import Metrics
from batchline.model import Batch, Lease, Outcome, Usage, request_id
from batchline.states import OutcomeKind
from batchline.store import Work

from . import schedule
from .gate import Cause, Gate
from .settle import Pending, Settler
from .upstream import Upstream
from .verdict import FULL_COST, Answer, Failed, NoAnswer, NoBackend, Retry, Succeeded, judge

log = logging.getLogger(__name__)

_READY_AHEAD_LINES = 128
_CLAIM_AT_MOST = 16  # slices a claim: one transaction feeds about 1,000 lines
_RENEW_AFTER = 1 / 3
_LEASE_MARGIN = 0.8
_BROKE = NoAnswer(
    "internal_error", "The dispatcher itself broke on this line, on every try: its log tells more."
)


@dataclass(frozen=True, slots=True)
class PumpLimits:
    """What bounds the pump."""

    holder: str
    lease_s: float
    max_attempts: int
    max_concurrent_batches: int
    retry_base_s: float
    retry_max_s: float


@dataclass(slots=True, eq=False)
class Held:
    """A slice this process holds, until its last line is settled."""

    batch: Batch
    lease: Lease
    left: int
    trusted_until: float
    tasks: set[asyncio.Task[bool]] = field(default_factory=set)
    timers: set[asyncio.TimerHandle] = field(default_factory=set)
    under_way: int = 0
    """Lines sent and not yet durable."""
    is_dropped: bool = False
    """Lost: what is in flight is aborted, nothing of it can be settled."""
    is_leaving: bool = False
    """Its batch was paused: what is in flight is settled, then the rest is given back."""

    @property
    def may_send(self) -> bool:
        """Whether its ready lines may still be sent."""
        return not (self.is_dropped or self.is_leaving)

    def forget_timers(self) -> None:
        """Let no line that waits for its retry come back."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()

    @property
    def key(self) -> tuple[int, int]:
        """What names it in the store."""
        return self.lease.slice.batch_seq, self.lease.slice.first


@dataclass(slots=True, eq=False)
class ReadyLine:
    """A line waiting for its turn. `spent` counts tries, each FULL_COST or less."""

    held: Held
    index: int
    custom_id: str
    body: msgspec.Raw
    spent: int = 0
    tries: int = 0


class Pump:
    """Lines in flight, lines ready, slices held."""

    def __init__(
        self,
        store: Work,
        blobs: Blobs,
        upstream: Upstream,
        *,
        limits: PumpLimits,
        gate: Gate,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._upstream = upstream
        self._limits = limits
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._settler: Settler | None = None
        self._backoff = wait_random_exponential(
            multiplier=limits.retry_base_s, max=limits.retry_max_s
        )
        self._ready: deque[ReadyLine] = deque()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._held: dict[tuple[int, int], Held] = {}
        self._batches: list[Batch] = []
        self._exhausted: set[int] = set()
        self._need = asyncio.Event()
        self._idle = asyncio.Event()
        self._claiming = True
        self._in_flight: Counter[str] = Counter()
        self.limit = 1
        self.broken: dict[int, str] = {}
        """Batches (by seq) whose input cannot be read any more, and why."""

    def use(self, settler: Settler) -> None:
        """Name the settler (it calls back into `settled`, so it is made second)."""
        self._settler = settler

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._tasks)

    def in_flight_by_batch(self) -> dict[str, int]:
        """Requests in flight of each batch that has any."""
        return {batch_id: n for batch_id, n in self._in_flight.items() if n}

    def set_limit(self, limit: int) -> None:
        """Allow this many requests in flight."""
        self.limit = limit
        self._kick()

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
                held.is_leaving = True
                held.forget_timers()
        sending = [b for b in running if b.seq not in paused and b.seq not in self.broken]
        self._batches = schedule.admitted(sending, at_most=self._limits.max_concurrent_batches)
        self._exhausted.clear()
        if self._left_behind():
            self._need.set()
        self._kick()

    async def feed(self) -> None:
        """Claim slices whenever fewer lines are ready than will be needed soon; never returns."""
        while True:
            await self._need.wait()
            self._need.clear()
            await self._let_go(self._left_behind())
            while self._wants_more() and (batch := self._choose()) is not None:
                try:
                    await self._claim(batch)
                except StoreUnavailable as exc:
                    log.warning("claiming waits: %s", exc)
                    self._exhausted.add(batch.seq)

    async def keep_leases(self) -> None:
        """Renew the leases held, drop those lost; never returns."""
        while True:
            await asyncio.sleep(self._limits.lease_s * _RENEW_AFTER)
            await self._renew()

    async def drain(self, grace_s: float) -> None:
        """Stop claiming, wait up to `grace_s` for requests in flight, then abort the rest."""
        self._claiming = False
        self._ready.clear()
        self._idle.clear()
        if self._tasks:
            log.info("waiting up to %.0f s for %d requests in flight", grace_s, len(self._tasks))
            try:
                await asyncio.wait_for(self._idle.wait(), grace_s)
            except TimeoutError:
                log.warning("aborting %d requests", len(self._tasks))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give_back(self) -> None:
        """Release every slice still held, after the last result was settled."""
        await self._release(list(self._held.values()))

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
        self._need.set()

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

    # -- claiming

    def _wants_more(self) -> bool:
        ahead = max(_READY_AHEAD_LINES, self.limit)
        return self._claiming and self._gate.is_open and len(self._ready) < ahead

    def _choose(self) -> Batch | None:
        held: Counter[int] = Counter()
        for item in self._held.values():
            held[item.batch.seq] += item.left
        return schedule.choose([b for b in self._batches if b.seq not in self._exhausted], held)

    async def _claim(self, batch: Batch) -> None:
        asked_at = time.monotonic()
        lines = max(_READY_AHEAD_LINES, self.limit) - len(self._ready)
        share = max(1, len(self._batches) - len(self._exhausted))
        count = min(_CLAIM_AT_MOST, max(1, lines // 64 // share))
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
        self._kick()

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
        self._ready.extend(
            ReadyLine(held, index, request.custom_id, request.body)
            for index, request in enumerate(requests, piece.first)
            if index not in lease.done
        )

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

    def _drop(self, held: Held) -> None:
        held.is_dropped = True
        self._held.pop(held.key, None)
        for task in held.tasks:
            task.cancel()
        held.forget_timers()

    # -- sending

    def _kick(self) -> None:
        while self._may_send():
            line = self._ready.popleft()
            if line.held.may_send:
                self._start(line)
        if self._wants_more():
            self._need.set()

    def _may_send(self) -> bool:
        has_room = len(self._tasks) < self.limit
        return bool(self._ready) and has_room and self._claiming and self._gate.is_open

    def _start(self, line: ReadyLine) -> None:
        task = asyncio.get_running_loop().create_task(self._run(line))
        self._tasks.add(task)
        line.held.tasks.add(task)
        line.held.under_way += 1
        self._in_flight[line.held.batch.id] += 1
        task.add_done_callback(lambda done: self._ended(done, line))

    def _ended(self, task: asyncio.Task[bool], line: ReadyLine) -> None:
        self._tasks.discard(task)
        line.held.tasks.discard(task)
        if task.cancelled() or task.exception() or not task.result():
            line.held.under_way -= 1  # else when it is durable
            if line.held.is_leaving:
                self._need.set()
        self._in_flight[line.held.batch.id] -= 1
        if not self._in_flight[line.held.batch.id]:
            del self._in_flight[line.held.batch.id]
        if not self._tasks:
            self._idle.set()
        if not task.cancelled() and (exc := task.exception()):
            log.error("line %d of %s broke", line.index, line.held.batch.id, exc_info=exc)
            line.spent += FULL_COST
            self._later(line, self._limits.retry_max_s)
        self._kick()

    async def _run(self, line: ReadyLine) -> bool:
        """Send the line once; tell whether its outcome was handed to the settler."""
        batch = line.held.batch
        if line.spent >= self._limits.max_attempts * FULL_COST:
            await self._settle(line, OutcomeKind.FAILED, _BROKE, Usage())
            return True
        failpoint("send.before")
        reply = await self._upstream.send(
            batch.endpoint,
            bytes(line.body),
            request_id=request_id(batch.id, line.index),
        )
        failpoint("send.answered")
        verdict = judge(reply, now=self._clock())
        self._measure(verdict, reply.seconds)
        match verdict:
            case Succeeded(answer, usage):
                await self._settle(line, OutcomeKind.SUCCEEDED, answer, usage)
            case Failed(result, _):
                await self._settle(line, OutcomeKind.FAILED, result, Usage())
            case Retry():
                return await self._retry(line, verdict)
            case NoBackend(detail):
                self._gate.close(Cause.NO_BACKEND, f"No model server can be reached: {detail}.")
                self._ready.appendleft(line)
                return False
        return True

    async def _retry(self, line: ReadyLine, verdict: Retry) -> bool:
        line.spent += verdict.cost
        line.tries += 1
        if line.spent >= self._limits.max_attempts * FULL_COST:
            await self._settle(line, OutcomeKind.FAILED, verdict.result, Usage())
            return True
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = line.tries
        self._later(line, max(self._backoff(state), verdict.after_s or 0.0))
        return False

    def _later(self, line: ReadyLine, delay_s: float) -> None:
        if not line.held.may_send:
            return
        timers = line.held.timers

        def again() -> None:
            timers.discard(timer)
            self._ready.appendleft(line)
            self._kick()

        timer = asyncio.get_running_loop().call_later(delay_s, again)
        timers.add(timer)

    async def _settle(
        self, line: ReadyLine, kind: OutcomeKind, result: Answer | NoAnswer, usage: Usage
    ) -> None:
        held = line.held
        name = request_id(held.batch.id, line.index)
        match result:
            case Answer(status, body, upstream_id):
                record = answer_record(
                    name, line.custom_id, status=status, upstream_id=upstream_id, body=body
                )
            case NoAnswer(code, message):
                record = error_record(name, line.custom_id, code=code, message=message)
        assert self._settler is not None, "use() comes before the first line"
        await self._settler.put(held.batch, held.lease, Outcome(line.index, kind, record, usage))

    def _measure(self, verdict: Succeeded | Failed | Retry | NoBackend, seconds: float) -> None:
        match verdict:
            case Succeeded():
                word, reason = "succeeded", "none"
            case Failed(_, why):
                word, reason = "failed", str(why)
            case Retry(_, why):
                word, reason = "retry", str(why)
            case NoBackend():
                word, reason = "no_backend", "no_backend"
        self._metrics.attempts.labels(word, reason).inc()
        self._metrics.attempt_seconds.observe(seconds)
