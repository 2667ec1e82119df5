"""One look at all backends, and what follows: circuits, lines taken away, the gate, the limit, figures.

`app` has it look every second and stores the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from batchline.metrics import Metrics
from batchline.model import BackendStatus, FleetReport

from .circuit import State
from .flight import Flight
from .gate import Cause, Gate
from .governor import Governor
from .placement import Placement
from .probe import Probe

_MOST_NAMED = 100  # batches of one model: the report is written each second


class Fleet:
    """The backends as this dispatcher sees and uses them."""

    def __init__(
        self,
        probe: Probe,
        placement: Placement,
        flight: Flight,
        governor: Governor,
        *,
        gate: Gate,
        metrics: Metrics,
    ) -> None:
        self._probe = probe
        self._placement = placement
        self._flight = flight
        self._governor = governor
        self._gate = gate
        self._metrics = metrics
        self._backends: Sequence[BackendStatus] = ()

    async def look(self) -> None:
        """Look at every backend once and act on it; takes a second or so at most."""
        backends = await self._probe.look()
        for berth in self._placement.looked(backends, self._probe.pulses):
            self._metrics.backend_hangs.labels(berth.name).inc()
            self._flight.abort(berth)
        if trouble := self._placement.trouble:
            self._gate.close(Cause.NO_BACKEND, f"No model server takes lines: {trouble}.")
        else:
            self._gate.open(Cause.NO_BACKEND)
        self._governor = self._governor.step(backends, in_flight=self._flight.in_flight)
        self._flight.set_limit(self._governor.limit)
        self._backends = self._placement.described(backends)
        self._measure()

    def report(
        self,
        models: Mapping[str | None, Collection[str]],
        waiting: Mapping[str, str],
        *,
        at: int,
    ) -> FleetReport:
        """Return what was seen. `models`: the running batches of each; `waiting`: batches that wait anyway.

        Of the batches that wait for a model the oldest are named.
        """
        unserved = {
            batch_id: f"No backend in service serves {model}."
            for model, batch_ids in models.items()
            if self._placement.is_unserved(model)
            for batch_id in islice(batch_ids, _MOST_NAMED)
        }
        return FleetReport(
            at=at,
            backends=self._backends,
            in_flight=self._flight.in_flight_by_batch(),
            limit=self._governor.limit,
            paused=self._gate.reason,
            waiting=unserved | dict(waiting),
            suspects=len(self._flight.trials),
            trial_backend=self._flight.trials.server,
        )

    def stopped(self, *, at: int) -> FleetReport:
        """Return the last report of a dispatcher."""
        return FleetReport(at, limit=self._governor.limit, paused="The dispatcher was stopped.")

    def _measure(self) -> None:
        for backend in self._backends:
            self._metrics.backend_up.labels(backend.name).set(backend.alive)
            self._metrics.backend_in_flight.labels(backend.name).set(backend.in_flight)
            for state in State:
                is_it = backend.circuit == state
                self._metrics.backend_circuit.labels(backend.name, state).set(is_it)
        self._metrics.limit.set(self._governor.limit)
        self._metrics.in_flight.set(self._flight.in_flight)
        for cause in Cause:
            self._metrics.dispatch_paused.labels(cause).set(self._gate.has(cause))
