"""Which backend gets a line: of those that may take one, the one with the fewest of our requests.

Behind our nginx (backends are named, and the upstream is none of them) the dispatcher chooses and nginx
obeys. Otherwise there is one backend, the upstream itself. Each has a circuit, fed by the probe's
looks and by how lines end; so has the way there, nginx. Sends nothing: `flight` asks and tells.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from batchline.api.endpoints import ENDPOINTS
from batchline.clock import Clock
from batchline.config.server_url import server_name
from batchline.model import BackendStatus

from .backend import Avoids, Backend, News, Slot
from .circuit import ERRORS, Circuit, Signal, State
from .lacks import ANY, Lacking, Lacks, Need
from .liveness import HangLimits, Liveness
from .nginx_circuit import Way
from .odd_lists import OddLists
from .serving import Serving

log = logging.getLogger(__name__)

_GRACE_S = 60.0
_QUESTIONS_IN_GRACE = 6
"""At least so often a model that is lacking is asked for before its lines fail."""
_MOST_SHARES = 1000
_ENDPOINTS, _NONE = frozenset(ENDPOINTS), frozenset[str]()


class Due(NamedTuple):
    """What a look at the backends calls for."""

    hung: list[Backend]
    """Their lines are to be taken away."""
    unproven: list[Backend]
    """A canary is to be sent to them."""


class Balancer:
    """The backends, and the choice between them."""

    def __init__(
        self,
        upstream_url: str,
        backend_urls: Sequence[str],
        *,
        hang: HangLimits,
        knows_models: bool = True,
        grace_s: float = _GRACE_S,
        max_attempts: int = ERRORS,
        clock: Clock,
    ) -> None:
        """Begin without a look. No sick server shall use up the `max_attempts` attempts of a line."""
        self.is_pinned = bool(backend_urls) and upstream_url not in backend_urls
        names = map(server_name, backend_urls if self.is_pinned else [upstream_url])
        self.backends = tuple(
            Backend(
                name,
                name if self.is_pinned else None,
                lacks=Lacks(longest_s=grace_s / _QUESTIONS_IN_GRACE),
            )
            for name in names
        )
        self.way = Way()
        self._hang = hang
        self.serving = Serving(
            self.backends, knows_models=knows_models, grace_s=grace_s, clock=clock
        )
        self._clock = clock
        self._most_errors = min(ERRORS, max_attempts)
        self._limit = 1
        self._shares: dict[Need, int] = {}
        self._bounds: list[int] = []  # of all backends: requests of so many bytes are refused
        self._has_looked = False
        self.looks = 0
        """How many looks were taken in."""
        self._odd = OddLists()
        self._is_disobeyed = False

    def set_limit(self, limit: int) -> None:
        """Spread this many lines."""
        self._limit = limit
        self._shares.clear()

    # -- choosing

    def need(self, model: str | None, endpoint: str, size_bytes: int) -> Need:
        """Say what a line needs. Sizes that no backend refuses are all the same: 0."""
        bound = max((b for b in self._bounds if b <= size_bytes), default=0) if self._bounds else 0
        return Need(model, endpoint, bound)

    def place(
        self, need: Need = ANY, avoid: Backend | None = None, avoids: Avoids = Avoids.NOW
    ) -> Slot | None:
        """Give a line a slot, until `release`. None: none may take it now."""
        backend = self._find(need, avoid, avoids)
        return None if backend is None else self.place_at(backend, need)

    def place_at(self, backend: Backend, need: Need = ANY) -> Slot:
        """Give a line a slot at this backend, which has `room_at` it."""
        if backend.in_flight == backend.unsent:
            backend.busy_since = self._clock.monotonic()
        backend.in_flight += 1
        backend.fresh += 1
        is_question = bool(backend.lacks) and any(backend.lacks.reasons(need))
        if is_question:
            backend.lacks.record_attempt(need, self._clock.monotonic())
        return Slot(backend, backend.circuit.epoch, self.way.take(), need, is_question)

    def release(self, slot: Slot) -> None:
        """Take note that the line is there no more."""
        backend = slot.backend
        backend.in_flight -= 1
        if slot.epoch == backend.circuit.epoch:
            backend.fresh -= 1
        if slot.is_question:
            backend.lacks.forget_attempt(slot.need, self._clock.monotonic())
        self.way.release(slot.way_epoch)

    def is_usable(self, backend: Backend) -> bool:
        """Whether its circuit lets any line through."""
        self._reopen(backend, self._clock.monotonic())
        return self._has_looked and not backend.is_open

    def room_at(self, backend: Backend) -> int:
        """How many lines may be sent to this backend now."""
        now = self._clock.monotonic()
        if not self.is_usable(backend) or not self.way.is_open(now):
            return 0
        if not backend.pressure.lets(held=backend.in_flight, now=now):
            return 0
        room = self._share(ANY) - backend.in_flight
        if backend.circuit.state is not State.CLOSED:
            room = min(room, backend.circuit.allowance - backend.fresh)
        return max(0, room)

    @property
    def has_room(self) -> bool:
        """Whether any line could be placed, whatever it needs."""
        return self._find(ANY) is not None

    def _find(
        self, need: Need, avoid: Backend | None = None, avoids: Avoids = Avoids.NOW
    ) -> Backend | None:
        now = self._clock.monotonic()
        if not self._has_looked or not self.way.is_open(now):
            return None
        model, share = self.serving.asked(need.model), self._share(need)
        best: Backend | None = None
        has_others = False
        for backend in self.backends:
            self._reopen(backend, now)
            if backend.is_open or backend is avoid or not backend.takes(need, model, now):
                continue
            has_others = True
            if backend.has_room(share, now) and (
                best is None or backend.in_flight < best.in_flight
            ):
                best = backend
        if has_others or avoid is None or avoids is Avoids.ALWAYS:
            return best
        if avoids is Avoids.AWHILE and self.serving.has_other(need, than=avoid.name):
            return None
        is_possible = not avoid.is_open and avoid.takes(need, model, now)
        return avoid if is_possible and avoid.has_room(share, now) else None

    def _share(self, need: Need) -> int:
        """Return how many such lines one backend may have: the limit spread over those that take them."""
        share = self._shares.get(need)
        if share is None:
            if len(self._shares) >= _MOST_SHARES:
                self._shares.clear()
            share = self._shares[need] = self._spread(need)
        return share

    def _spread(self, need: Need) -> int:
        # Whatever their models: with one model each, none may take the others' part of the limit.
        caps = sorted(
            backend.pressure.cap
            for backend in self.backends
            if not backend.is_open and not any(backend.reasons_against(need))
        )
        left = self._limit
        while caps and caps[0] < left / len(caps):
            left -= int(caps.pop(0))  # the others may have what a full one cannot take
        return max(1, -(-left // max(1, len(caps))))

    # -- learning from lines

    def record_result(self, slot: Slot, news: News) -> None:
        """Take in how a line ended."""
        backend, now, signal = slot.backend, self._clock.monotonic(), news.signal
        if news.is_lost_on_the_way:
            why = f"nginx {news.why}"
            self.way.record_result(
                signal, epoch=slot.way_epoch, share=self._limit, now=now, why=why
            )
            return
        if signal is Signal.OK:
            backend.answered_at = now
            self._record_answer(slot, news, now)
        elif signal is Signal.REJECTED:
            backend.answered_at = now
        elif signal is Signal.REFUSED:
            backend.gone_at, backend.is_leaving = now, True
        elif signal is Signal.FULL:
            held = backend.in_flight - 1
            backend.pressure = backend.pressure.record_full(held=held, now=now)
            self._shares.clear()
        if news.lacking is not None:
            self._record_lack(slot, news, news.lacking, now)
        if (
            self.is_pinned
            and news.backend != backend.name
            and signal in {Signal.LOST, Signal.ERROR}
        ):
            return  # nobody knows whose doing it was
        if signal is Signal.OK and backend.circuit.is_spotless:
            return
        share = self._share(slot.need)
        circuit = backend.circuit.record_result(
            signal,
            epoch=slot.epoch,
            share=share,
            now=now,
            why=news.why,
            most_errors=self._most_errors,
        )
        if circuit.needs_proof and not backend.is_open:
            backend.proof_need, backend.is_refusing = slot.need, False
        self._set(backend, circuit)

    def _record_answer(self, slot: Slot, news: News, now: float) -> None:
        backend = slot.backend
        if self.is_pinned and news.backend is None and not self._is_disobeyed:
            self._is_disobeyed = True
            log.warning(
                "the upstream does not take lines to the backend that they are sent to (%s): "
                "is it batchline's nginx, and does it name the same servers?",
                backend.name,
            )
        if self.way.circuit.state is not State.CLOSED:
            self.way.record_result(
                Signal.OK, epoch=slot.way_epoch, share=self._limit, now=now, why=""
            )
        backend.pressure = backend.pressure.record_answer()
        if backend.lacks:
            backend.lacks.record_answer(slot.need)
            self._compare_lacks()

    def _record_lack(self, slot: Slot, news: News, lacking: Lacking, now: float) -> None:
        need = slot.need._replace(size_bytes=news.size_bytes)
        if slot.backend.lacks.note(lacking, need, news.why, now=now):
            log.warning("backend %s %s", slot.backend.name, news.why)
        self._compare_lacks()

    def _compare_lacks(self) -> None:
        self._shares.clear()
        self._bounds = [b.lacks.most_bytes for b in self.backends if b.lacks and b.lacks.most_bytes]

    # -- proof

    def require_proof(self, backend: Backend, why: str, need: Need) -> None:
        """Take a backend out that refuses what another one answers, until a canary is answered."""
        if not backend.is_open:
            backend.proof_need, backend.is_refusing = need, True
            self._set(backend, backend.circuit.require_proof(why, self._clock.monotonic()))

    def record_canary(self, backend: Backend, fault: str | None = None) -> None:
        """Take in that a canary was answered, or why it was not (`fault`)."""
        now, circuit = self._clock.monotonic(), backend.circuit
        self._set(
            backend, circuit.record_failed_proof(fault, now) if fault else circuit.record_proof(now)
        )

    # -- learning from looks

    def record_probe(
        self, backends: Sequence[BackendStatus], liveness_of: Mapping[str, Liveness]
    ) -> Due:
        """Take in what the probe saw; return what is to be done about it."""
        self._has_looked = True
        self.looks += 1
        self.way.record_probe(share=self._limit, now=self._clock.monotonic())
        statuses = {backend.name: backend for backend in backends}
        hung = [
            backend
            for backend in self.backends
            if (status := statuses.get(backend.name)) is not None
            and self._look(backend, status, liveness_of.get(backend.name, Liveness()))
        ]
        self._shares.clear()
        self._odd.compare({backend.name: backend.models for backend in self.backends})
        self.serving.record_probe()
        now = self._clock.monotonic()
        return Due(hung, [b for b in self.backends if b.circuit.is_due(now)])

    def _look(self, backend: Backend, status: BackendStatus, liveness: Liveness) -> bool:
        """Take in one look; tell whether what is in flight there has to be taken away."""
        now, circuit = self._clock.monotonic(), backend.circuit
        if silence := self._hang.silence(liveness, answered_at=backend.answered_at, now=now):
            backend.gone_at = now
            self._set(backend, circuit.record_death(silence, is_after_hang=True))
            return backend.circuit.epoch != circuit.epoch
        if not status.alive and not liveness.is_late(answered_at=backend.answered_at):
            backend.gone_at = now
            backend.is_leaving = liveness.silent_since is None
            self._set(backend, circuit.record_death(status.reason or "is not alive"))
            return False
        backend.is_leaving = False
        if status.alive:
            self._list(backend, frozenset(status.models))
            known = status.endpoints
            backend.not_offered = _NONE if known is None else _ENDPOINTS.difference(known)
        quiet_since = max(backend.answered_at, backend.busy_since)
        stillness = self._hang.stillness(
            liveness,
            in_flight=backend.in_flight - backend.unsent,
            quiet_since=quiet_since,
            now=now,
        )
        if stillness is not None:
            backend.hung_at = backend.gone_at = now
            self._set(
                backend, circuit.record_hang(stillness, until=now + (self._hang.after_s or 0.0))
            )
            return backend.circuit.epoch != circuit.epoch
        if liveness.moved_at > backend.hung_at:
            circuit = circuit.record_movement()
        # Its time may be up while no line asks: with all of them open nothing would be claimed for ever.
        due = circuit.at(now)
        share = self._share(ANY)
        self._set(backend, circuit.record_alive(share=share) if due is circuit else due)
        return False

    def _list(self, backend: Backend, models: frozenset[str]) -> None:
        """Take in what it lists: what it does not list any more need not be asked for to be known."""
        backend.models = models
        for model in backend.lacks.names(Lacking.MODEL) if backend.lacks and models else ():
            if model not in models:
                backend.lacks.forget(Lacking.MODEL, model)

    def _reopen(self, backend: Backend, now: float) -> None:
        if backend.circuit.until <= now:
            self._set(backend, backend.circuit.at(now))

    def _set(self, backend: Backend, circuit: Circuit) -> None:
        before, backend.circuit = backend.circuit, circuit
        if circuit.epoch != before.epoch:
            backend.fresh = 0
        if circuit.state is before.state:
            return
        self._shares.clear()
        backend.since = self._clock.now()
        if before.state is State.CLOSED:
            backend.out_since = self._clock.monotonic()
        if circuit.state is State.OPEN and before.state is State.CLOSED:
            log.warning("backend %s is taken out: %s", backend.name, circuit.reason)
        elif circuit.state is State.CLOSED:
            log.info("backend %s takes its full share", backend.name)

    # -- telling

    @property
    def trouble(self) -> str | None:
        """Why no line at all can be sent, in words, or None."""
        if trouble := self.way.trouble:
            return trouble
        if any(not backend.is_open for backend in self.backends):
            return None
        return "; ".join(f"{backend.name} {backend.circuit.reason}" for backend in self.backends)

    def opens_in_s(self) -> float | None:
        """How long until something is tried again by itself; None: not by itself."""
        now = self._clock.monotonic()
        circuits = [self.way.circuit, *(backend.circuit for backend in self.backends)]
        times = [c.until - now for c in circuits if c.state is State.OPEN and not c.needs_proof]
        times += [backend.pressure.until - now for backend in self.backends]
        coming = [time_s for time_s in times if 0 <= time_s < float("inf")]
        return min(coming, default=None)
