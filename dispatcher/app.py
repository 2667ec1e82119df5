"""The dispatcher process: opens what it needs, runs its loops, stops them in order.

    conduct   every batch to where its status belongs: admission, pump, publisher (conduct.py)
    fleet     looks at the backends, moves circuits, limit and gate (fleet.py), reports to the store
    duties    housekeeping: deadlines, sweep, orphans, disk, compaction
    feed, keep_leases (pump), run (settler); the lines themselves fly in `flight`

Stopping: no new claims → drain for grace_s → abort → settle what came → release → close.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from typing import Any

from batchline.blobs import Blobs, open_blobs
from batchline.clock import Clock
from batchline.errors import NewerStore, StoreUnavailable
from batchline.jsonl.input_file import Limits
from batchline.metrics import Metrics
from batchline.process.descriptors import OTHERS, REMEDY, Alarm, limit, watched
from batchline.process.locks import only_dispatcher
from batchline.serving.identity import Part
from batchline.serving.ops import serve_ops
from batchline.serving.request_log import bounded_request_log
from batchline.settings import Settings
from batchline.store import Work, open_store
from dispatcher.attempts.line_rules import LineRules
from dispatcher.attempts.retrying import RetryLimits
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.liveness import HangLimits
from dispatcher.batches.admit import Admission
from dispatcher.batches.conduct import LOOK_S, Conductor
from dispatcher.batches.publish import Publisher
from dispatcher.media.audio import Audio
from dispatcher.media.fetch import Fetcher
from dispatcher.probing.canary import Canaries
from dispatcher.probing.in_flight_limit import InFlightLimit
from dispatcher.probing.look import Fleet
from dispatcher.probing.probe import Probe
from dispatcher.replies.upstream import Upstream
from dispatcher.sending.attempt import Sender
from dispatcher.sending.bodies import Bodies
from dispatcher.sending.ended_lines import Outcomes
from dispatcher.sending.flight import Flight
from dispatcher.sending.gate import Gate
from dispatcher.sending.memory import Memory
from dispatcher.sending.pump import ClaimLimits, Pump
from dispatcher.sending.settle import Settler
from dispatcher.upkeep.housekeeping import RESTS, Duty, Rests, WorkAndUpkeep, duties, look_after

from .take_over import ROLE, ROLE_TTL_S, take_over

log = logging.getLogger(__name__)

_RESTART_S = 1.0
_NEWS_AGAIN_S = 60.0  # a loop that ran for so long and stops again is worth a line in the log
_USUAL_IN_FLIGHT = 1024  # of eight servers with large batches


async def serve(
    settings: Settings, stop: asyncio.Event, *, rests: Rests = RESTS, look_s: float = LOOK_S
) -> None:
    """Run the dispatcher until `stop` is set. Raises StoreUnavailable, NewerStore, Invalid."""
    clock, metrics = Clock(), Metrics(cell=settings.cell)
    async with AsyncExitStack() as stack:
        is_alone = await stack.enter_async_context(only_dispatcher(settings.data_dir, stop))
        if not is_alone:
            return
        store = await stack.enter_async_context(
            open_store(settings.database_path, clock_ms=lambda: int(clock.now() * 1000))
        )
        blobs = stack.enter_context(closing(open_blobs(settings.blobs_dir)))
        alarm = Alarm()
        await stack.enter_async_context(watched(alarm))
        upstream = await stack.enter_async_context(
            Upstream(
                settings.upstream_url,
                api_key=settings.upstream_api_key,
                timeout_s=settings.request_timeout_s,
                alarm=alarm,
            )
        )
        probe = await stack.enter_async_context(
            Probe(
                settings.backend_urls or (settings.upstream_url,),
                api_key=settings.upstream_api_key,
                clock=clock,
                alarm=alarm,
            )
        )
        fetcher = await stack.enter_async_context(Fetcher(settings.media_rules))
        await stack.enter_async_context(bounded_request_log(metrics.unlogged_requests.inc))
        await stack.enter_async_context(serve_ops(Part.DISPATCHER, settings, metrics))
        _check_descriptors(settings)
        dispatcher = Dispatcher(
            settings,
            store,
            blobs,
            upstream,
            probe,
            fetcher=fetcher,
            metrics=metrics,
            clock=clock,
            rests=rests,
            look_s=look_s,
        )
        await dispatcher.run(stop)


def _check_descriptors(settings: Settings) -> None:
    """Say where the limit of open files is too low for what the settings allow."""
    needed = (settings.max_in_flight or _USUAL_IN_FLIGHT) + OTHERS
    if needed > limit():
        log.warning(
            "the limit of open files (ulimit -n) is %d, and %d may be needed: lines beyond it wait. %s",
            limit(),
            needed,
            REMEDY,
        )


def _admission(
    settings: Settings, store: Work, blobs: Blobs, probe: Probe, *, clock: Clock
) -> Admission:
    return Admission(
        store,
        blobs,
        limits=Limits(settings.max_lines, settings.max_line_bytes, settings.max_faults),
        one_model=settings.one_model_per_batch,
        body=settings.body_rules,
        media=settings.media_rules,
        served=probe.served if settings.refuse_unknown_models else _unknown,
        clock=clock,
    )


def _publisher(
    settings: Settings, store: Work, blobs: Blobs, metrics: Metrics, *, clock: Clock
) -> Publisher:
    return Publisher(
        store,
        blobs,
        min_free_bytes=settings.min_free_bytes,
        metrics=metrics,
        file_ttl_s=settings.file_ttl_s,
        clock=clock,
    )


async def _unknown() -> None:
    """Know no models: none is refused."""


def _claim_limits(settings: Settings, holder: str) -> ClaimLimits:
    return ClaimLimits(
        holder=holder,
        lease_s=settings.lease_s,
        max_concurrent_batches=settings.max_concurrent_batches,
    )


def _memory(settings: Settings, metrics: Metrics) -> Memory:
    memory = Memory(most_bytes=settings.max_held_bytes)
    metrics.held_bytes.set_function(lambda: memory.held_bytes)
    return memory


def _balancer(settings: Settings, *, clock: Clock) -> Balancer:
    return Balancer(
        settings.upstream_url,
        settings.backend_urls,
        hang=HangLimits(settings.hang_after_s or None),
        knows_models=settings.refuse_unknown_models,
        grace_s=settings.model_grace_s,
        max_attempts=settings.max_attempts,
        clock=clock,
    )


def _retry_limits(settings: Settings) -> RetryLimits:
    return RetryLimits(
        max_attempts=settings.max_attempts,
        base_s=settings.retry_base_s,
        max_s=settings.retry_max_s,
    )


class Dispatcher:
    """The loops over one store and one upstream."""

    def __init__(
        self,
        settings: Settings,
        store: WorkAndUpkeep,
        blobs: Blobs,
        upstream: Upstream,
        probe: Probe,
        *,
        fetcher: Fetcher,
        metrics: Metrics,
        clock: Clock,
        rests: Rests = RESTS,
        look_s: float = LOOK_S,
    ) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._holder = f"{settings.cell}/{secrets.token_hex(6)}"
        self._gate = Gate()
        balancer = _balancer(settings, clock=clock)
        self._memory = _memory(settings, metrics)
        bodies = Bodies(blobs, self._memory)
        self._audio = Audio(settings.media_rules, fetcher, self._memory.media)
        self._settler = Settler(
            store,
            blobs,
            gate=self._gate,
            memory=self._memory,
            metrics=metrics,
            flush_s=settings.flush_s,
            clock=clock,
        )
        self._flight = self._new_flight(upstream, probe, balancer, bodies)
        self._pump = Pump(
            store,
            bodies,
            self._flight,
            settler=self._settler,
            memory=self._memory,
            limits=_claim_limits(settings, self._holder),
            clock=clock,
        )
        self._fleet = self._new_fleet(upstream, probe, balancer)
        self._conductor = self._new_conductor(store, blobs, probe, look_s)
        self._duties = self._new_duties(blobs, rests)

    def _new_flight(
        self, upstream: Upstream, probe: Probe, balancer: Balancer, bodies: Bodies
    ) -> Flight:
        outcomes = Outcomes(self._settler, memory=self._memory, metrics=self._metrics)
        sender = Sender(
            upstream,
            balancer,
            bodies,
            audio=self._audio,
            outcomes=outcomes,
            clock=self._clock,
            list_again=probe.list_again,
        )
        return Flight(
            sender,
            balancer,
            outcomes,
            memory=self._memory,
            rules=LineRules(self._settings.body_rules, self._settings.media_rules),
            retry=_retry_limits(self._settings),
            gate=self._gate,
            metrics=self._metrics,
            clock=self._clock,
        )

    def _new_fleet(self, upstream: Upstream, probe: Probe, balancer: Balancer) -> Fleet:
        return Fleet(
            probe,
            balancer,
            self._flight,
            limit=InFlightLimit.start(bound=self._settings.max_in_flight),
            canaries=Canaries(
                upstream, on_proven=self._flight.record_canary, metrics=self._metrics
            ),
            gate=self._gate,
            metrics=self._metrics,
        )

    def _new_duties(self, blobs: Blobs, rests: Rests) -> Mapping[str, Duty]:
        return duties(
            self._settings,
            self._store,
            blobs,
            gate=self._gate,
            metrics=self._metrics,
            is_idle=lambda: not self._flight.in_flight,
            clock=self._clock,
            rests=rests,
        )

    def _new_conductor(self, store: Work, blobs: Blobs, probe: Probe, look_s: float) -> Conductor:
        settings, clock = self._settings, self._clock
        return Conductor(
            store,
            self._pump,
            _admission(settings, store, blobs, probe, clock=clock),
            _publisher(settings, store, blobs, self._metrics, clock=clock),
            failures=self._flight.outcomes.failures,
            holder=self._holder,
            gate=self._gate,
            metrics=self._metrics,
            clock=clock,
            look_s=look_s,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Take over, work until `stop`, leave in order."""
        await take_over(self._store, holder=self._holder, metrics=self._metrics)
        try:
            await self._work(stop)
        finally:
            await self._fleet.stop()
            await self._flight.drain(0.0)  # whatever ended it, no request outlives it

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            settling = tasks.create_task(self._settler.run())
            loops = [
                tasks.create_task(self._supervise(name, loop))
                for name, loop in self._loops().items()
            ]
            await stop.wait()
            await self._flight.drain(self._settings.grace_s)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self._settler.stop()
            await settling
            with suppress(StoreUnavailable):
                await self._store.recover(self._holder, died=False)
                await self._store.report(self._fleet.stopped(at=int(self._clock.now())))

    def _loops(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {
            "fleet": self._watch_fleet,
            "conduct": self._conductor.run,
            "feed": self._pump.feed,
            "leases": self._pump.keep_leases,
            "role": self._keep_role,
        } | {name: partial(look_after, duty, self._clock) for name, duty in self._duties.items()}

    async def _supervise(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        told = ""
        while True:
            began = self._clock.monotonic()
            try:
                await loop()
            except StoreUnavailable as exc:
                is_news = str(exc) != told or self._clock.monotonic() - began > _NEWS_AGAIN_S
                if is_news:  # a disk may refuse for hours, once a second
                    log.warning("%s waits: %s", name, exc)
                told = str(exc)
            except NewerStore:
                raise  # an upgrade: this version has nothing more to do here
            except Exception:
                log.exception("%s broke; it starts again", name)
            await self._clock.sleep(_RESTART_S)

    async def _watch_fleet(self) -> None:
        while True:
            await self._fleet.look()
            batches, waiting = self._pump.batches, self._conductor.waiting
            await self._store.report(
                self._fleet.report(batches, waiting, at=int(self._clock.now()))
            )
            await self._clock.sleep(self._settings.probe_interval_s)

    async def _keep_role(self) -> None:
        while True:
            await self._store.hold(ROLE, holder=self._holder, ttl_s=ROLE_TTL_S)
            await self._clock.sleep(ROLE_TTL_S / 3)
