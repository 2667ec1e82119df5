"""One look at all backends, and what follows: circuits, lines taken away, the gate, the limit, figures.

`app` has it look every second and stores the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from batchline.metrics import Metrics
from batchline.model import BackendStatus, Batch, FleetReport
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import State
from dispatcher.backends.lacks import Lacking, Need
from dispatcher.sending.flight import Flight
from dispatcher.sending.gate import Cause, Gate

from .canary import Canaries
from .in_flight_limit import InFlightLimit
from .probe import Probe

_MOST_NAMED = 100  # batches of one model: the report is written each second


class Fleet:
    """The backends as this dispatcher sees and uses them."""

    def __init__(
        self,
        probe: Probe,
        balancer: Balancer,
        flight: Flight,
        *,
        limit: InFlightLimit,
        canaries: Canaries,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self._probe = probe
        self._balancer = balancer
        self._flight = flight
        self._limit = limit
        self._canaries = canaries
        self._gate = gate
        self._metrics = metrics
        self._backends: Sequence[BackendStatus] = ()

    async def look(self) -> None:
        """Look at every backend once and act on it; takes a second or so at most."""
        seen = await self._probe.look()
        due = self._balancer.record_probe(seen, self._probe.liveness_of)
        for backend in due.hung:
            self._metrics.backend_hangs.labels(backend.name).inc()
            self._flight.abort(backend)
        self._canaries.send(due.unproven)
        backends = [self._described(status) for status in seen]
        if trouble := self._balancer.trouble:
            self._gate.close(Cause.NO_BACKEND, f"No model server takes lines: {trouble}.")
        else:
            self._gate.open(Cause.NO_BACKEND)
        self._limit = self._limit.step(backends, in_flight=self._flight.in_flight)
        self._flight.set_limit(self._limit.value)
        self._backends = backends
        self._measure()

    async def stop(self) -> None:
        """Give up the canaries under way."""
        await self._canaries.stop()

    def report(
        self, batches: Iterable[Batch], waiting: Mapping[str, str], *, at: int
    ) -> FleetReport:
        """Return what was seen. `batches`: those that run; `waiting`: those that wait anyway, and why."""
        reasons: dict[Need, str | None] = {}
        named: Counter[Need] = Counter()
        lacking: dict[str, str] = {}
        for batch in batches:
            need = Need(batch.model, batch.endpoint)
            if need not in reasons:
                reasons[need] = self._balancer.serving.lacking(need)
            if (reason := reasons[need]) is not None and named[need] < _MOST_NAMED:
                named[need] += 1
                lacking[batch.id] = reason
        return FleetReport(
            at=at,
            backends=self._backends,
            in_flight=self._flight.in_flight_by_batch(),
            limit=self._limit.value,
            paused=self._gate.reason,
            waiting=self._flight.waiting() | lacking | dict(waiting),
            failing=self._flight.outcomes.failures.told(),
            suspects=len(self._flight.isolated),
            reserved_backend=self._flight.isolated.server,
        )

    def stopped(self, *, at: int) -> FleetReport:
        """Return the last report of a dispatcher."""
        return FleetReport(at, limit=self._limit.value, paused="The dispatcher was stopped.")

    def _described(self, status: BackendStatus) -> BackendStatus:
        """Add to what the probe saw of a backend how it stands here."""
        backend = next((b for b in self._balancer.backends if b.name == status.name), None)
        if backend is None:
            return status
        liveness = self._probe.liveness_of.get(backend.name)
        if not status.alive and liveness and liveness.is_late(answered_at=backend.answered_at):
            late = "is late to answer questions, but answers lines"
            status = self._probe.last_alive(backend.name) or status
            status = replace(status, alive=True, reason=late, is_stale=True)
        return replace(
            status,
            circuit=str(backend.circuit.state),
            circuit_since=int(backend.since),
            circuit_reason=backend.circuit.reason or backend.lacks.in_words(),
            in_flight=backend.in_flight,
        )

    def _measure(self) -> None:
        for backend in self._balancer.backends:
            for kind in Lacking:
                lacks = len(backend.lacks.names(kind))
                self._metrics.backend_lacks.labels(backend.name, kind).set(lacks)
        for status in self._backends:
            self._metrics.backend_up.labels(status.name).set(status.alive)
            self._metrics.backend_in_flight.labels(status.name).set(status.in_flight)
            for state in State:
                is_it = status.circuit == state
                self._metrics.backend_circuit.labels(status.name, state).set(is_it)
        self._metrics.batches_failing.set(self._flight.outcomes.failures.failing)
        self._metrics.limit.set(self._limit.value)
        self._metrics.in_flight.set(self._flight.in_flight)
        for cause in Cause:
            self._metrics.dispatch_paused.labels(cause).set(self._gate.has(cause))
