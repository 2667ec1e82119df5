"""Which backend gets a line: of those that may take one, the one with the fewest of our requests.

Behind our nginx (backends are named, and the upstream is none of them) the dispatcher chooses and nginx
obeys. Otherwise there is one berth, the upstream itself. Each berth has a circuit, fed by the probe's
looks and by how lines end; so has the way there, nginx. Sends nothing: `flight` asks and tells.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from batchline.model import BackendStatus
from batchline.outliers import outliers

from .circuit import Circuit, Sign, State
from .pulse import HangLimits, Pulse

log = logging.getLogger(__name__)

_LACKS_S = 30.0  # its list is read anew within this time


@dataclass(slots=True, eq=False)
class Berth:
    """One backend as a place for lines."""

    name: str
    pin: str | None
    """What tells nginx to take a line here; None where nobody chooses."""
    circuit: Circuit = field(default_factory=Circuit)
    since: float = 0.0
    """When the circuit last changed its state (Unix seconds)."""
    in_flight: int = 0
    fresh: int = 0
    """Of these, sent since the circuit was last opened or half-opened."""
    answered_at: float = 0.0
    """When a line was last answered here."""
    busy_since: float = 0.0
    """When the first of those in flight was sent to what had been idle."""
    hung_at: float = 0.0
    gone_at: float = 0.0
    """When it last refused a connection, hung, or was not there when it was looked at."""
    is_reserved: bool = False
    """Only trials of suspects are sent here (`trials`)."""
    models: frozenset[str] = frozenset()
    """What it lists; empty: unknown."""
    lacks: dict[str, float] = field(default_factory=dict)
    """What it did not know when it was asked for it, and until when it is not asked again."""

    def takes(self, model: str | None) -> bool:
        """Whether an ordinary line for this model may be sent here now, if the circuit lets it."""
        return not self.is_reserved and self.serves(model)

    def serves(self, model: str | None) -> bool:
        """Whether a line for this model may be sent here."""
        if model is None:
            return True
        return (not self.models or model in self.models) and model not in self.lacks


@dataclass(slots=True, eq=False)
class Stay:
    """One line's time at a berth."""

    berth: Berth
    epoch: int
    way_epoch: int
    hung: str | None = None
    """Why the line is taken away from there."""


class Placement:
    """The berths, and the choice between them."""

    def __init__(
        self,
        upstream_url: str,
        backend_urls: Sequence[str],
        *,
        hang: HangLimits,
        knows_models: bool = True,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        urls = [url.rstrip("/") for url in backend_urls]
        self.is_pinned = bool(urls) and upstream_url.rstrip("/") not in urls
        names = [urlsplit(url).netloc for url in (urls if self.is_pinned else [upstream_url])]
        self.berths = tuple(Berth(name, name if self.is_pinned else None) for name in names)
        self._way = Circuit()
        self._way_fresh = 0
        self._hang = hang
        self._knows_models = knows_models
        self._clock = clock
        self._monotonic = monotonic
        self._limit = self._share = 1  # a berth's share: the limit spread over those in service
        self._has_looked = False
        self.looks = 0
        """How many looks were taken in."""
        self._odd: list[str] = []
        self._is_disobeyed = False
        self.tells_apart = False
        """Some berths list other models than others."""

    def set_limit(self, limit: int) -> None:
        """Spread this many lines."""
        self._limit = limit
        self._spread()

    def _spread(self) -> None:
        usable = sum(berth.circuit.state is not State.OPEN for berth in self.berths)
        self._share = -(-self._limit // max(1, usable))

    # -- choosing

    def place(self, model: str | None = None, *, avoid: Berth | None = None) -> Stay | None:
        """Give a line its berth, until `left`. None: none may take it now."""
        berth = self._find(model, avoid)
        return None if berth is None else self.place_at(berth)

    def place_at(self, berth: Berth) -> Stay:
        """Give a line a place at this berth, which has `room_at` it."""
        if not berth.in_flight:
            berth.busy_since = self._monotonic()
        berth.in_flight += 1
        berth.fresh += 1
        self._way_fresh += 1
        return Stay(berth, berth.circuit.epoch, self._way.epoch)

    def left(self, stay: Stay) -> None:
        """Take note that the line is there no more."""
        berth = stay.berth
        berth.in_flight -= 1
        if stay.epoch == berth.circuit.epoch:
            berth.fresh -= 1
        if stay.way_epoch == self._way.epoch:
            self._way_fresh -= 1

    def is_usable(self, berth: Berth) -> bool:
        """Whether its circuit lets any line through."""
        now = self._monotonic()
        if berth.circuit.until <= now:
            self._set(berth, berth.circuit.at(now))
        return self._has_looked and berth.circuit.state is not State.OPEN

    def room_at(self, berth: Berth) -> int:
        """How many lines may be sent to this berth now."""
        if not self.is_usable(berth) or not self._is_way_open(self._monotonic()):
            return 0
        room = self._share - berth.in_flight
        if berth.circuit.state is not State.CLOSED:
            room = min(room, berth.circuit.allowance - berth.fresh)
        return max(0, room)

    @property
    def has_room(self) -> bool:
        """Whether any line could be placed, whatever its model."""
        return self._find(None, None) is not None

    def can_serve(self, model: str | None) -> bool:
        """Whether some backend is known to serve it, or none is known not to; alive or not."""
        model = self._asked(model)
        return any(berth.serves(model) for berth in self.berths)

    def _asked(self, model: str | None) -> str | None:
        """Leave the model aside where models that nobody lists are served, too."""
        if self._knows_models or any(model in berth.models for berth in self.berths):
            return model
        return None

    def _find(self, model: str | None, avoid: Berth | None) -> Berth | None:
        now = self._monotonic()
        if not self._has_looked or not self._is_way_open(now):
            return None
        model = self._asked(model)
        share = self._share
        best: Berth | None = None
        has_others = False
        for berth in self.berths:
            if berth.circuit.until <= now:
                self._set(berth, berth.circuit.at(now))
            circuit = berth.circuit
            if circuit.state is State.OPEN or berth is avoid or not berth.takes(model):
                continue
            has_others |= not circuit.is_mild
            if not _has_room(berth, share) or (best and best.in_flight <= berth.in_flight):
                continue
            best = berth
        if best is not None or has_others:
            return best
        if avoid is not None and avoid.circuit.state is not State.OPEN and avoid.takes(model):
            return avoid if _has_room(avoid, share) else None
        return self._find_mild(model, avoid)

    def _find_mild(self, model: str | None, avoid: Berth | None) -> Berth | None:
        """Choose among backends that answer errors only: no better one is there."""
        mild = [
            berth
            for berth in self.berths
            if berth.circuit.is_mild and berth.in_flight < self._share and berth.takes(model)
        ]
        return min(mild, key=lambda berth: (berth is avoid, berth.in_flight), default=None)

    def _is_way_open(self, now: float) -> bool:
        if self._way.state is State.CLOSED:
            return True
        if self._way.until <= now:
            self._set_way(self._way.at(now))
        return self._way.state is not State.OPEN and self._way_fresh < self._way.allowance

    # -- learning

    def heard(self, stay: Stay, sign: Sign, *, backend: str | None, why: str = "") -> None:
        """Take in how a line ended. `backend`: who answered or broke off, as far as known."""
        berth, now = stay.berth, self._monotonic()
        if sign is Sign.WELL:
            berth.answered_at = now
            if self.is_pinned and backend is None and not self._is_disobeyed:
                self._is_disobeyed = True
                log.warning(
                    "the upstream does not take lines to the backend that they are sent to (%s): "
                    "is it batchline's nginx, and does it name the same servers?",
                    berth.name,
                )
            if self._way.state is not State.CLOSED:
                self._hear_way(stay, sign, why)
        if sign is Sign.REFUSED:
            berth.gone_at = now
        if self.is_pinned and backend != berth.name and sign in {Sign.LOST, Sign.SOUR}:
            return  # nobody knows whose doing it was
        circuit = berth.circuit.heard(sign, epoch=stay.epoch, share=self._share, now=now, why=why)
        if circuit is not berth.circuit:
            self._set(berth, circuit)

    def lost_way(self, stay: Stay, sign: Sign, *, why: str) -> None:
        """Take in that nginx took no connection, or broke one off: no backend is to blame."""
        self._hear_way(stay, sign, why)

    def misses(self, stay: Stay, model: str) -> bool:
        """Note for a while that a backend does not know this model; tell whether another one does."""
        is_listed = any(
            model in berth.models and berth.serves(model)
            for berth in self.berths
            if berth is not stay.berth and berth.circuit.state is not State.OPEN
        )
        if is_listed:
            log.warning("backend %s does not know the model %s", stay.berth.name, model)
            stay.berth.lacks[model] = self._monotonic() + _LACKS_S
        return is_listed

    def looked(self, backends: Sequence[BackendStatus], pulses: Mapping[str, Pulse]) -> list[Berth]:
        """Take in what the probe saw; return the berths whose lines are to be taken away."""
        self._has_looked = True
        self.looks += 1
        if self._way.state is not State.CLOSED:
            self._set_way(self._way.at(self._monotonic()).seen_alive(share=self._limit))
        statuses = {backend.name: backend for backend in backends}
        hung = [
            berth
            for berth in self.berths
            if (status := statuses.get(berth.name)) is not None
            and self._look(berth, status, pulses.get(berth.name, Pulse()))
        ]
        self._compare_models()
        return hung

    def _compare_models(self) -> None:
        lists = {berth.name: berth.models for berth in self.berths}
        self.tells_apart = len({models for models in lists.values() if models}) > 1
        odd = outliers(lists) if self.tells_apart else []
        for name in odd:
            if name not in self._odd:
                log.warning(
                    "backend %s serves other models than most: %s", name, ", ".join(lists[name])
                )
        self._odd = odd

    def _look(self, berth: Berth, status: BackendStatus, pulse: Pulse) -> bool:
        """Take in one look; tell whether what is in flight there has to be taken away."""
        now, circuit = self._monotonic(), berth.circuit
        if silence := self._hang.silence(pulse, now=now):
            berth.gone_at = now
            self._set(berth, circuit.seen_dead(silence, is_wary=True))
            return berth.circuit.epoch != circuit.epoch
        if not status.alive:
            # Busy servers are late: while lines are answered, only the question was unlucky.
            if pulse.silent_since is None or berth.answered_at <= pulse.silent_since:
                berth.gone_at = now
                self._set(berth, circuit.seen_dead(status.reason or "is not alive"))
            return False
        berth.models = frozenset(status.models)
        berth.lacks = {model: until for model, until in berth.lacks.items() if until > now}
        quiet_since = max(berth.answered_at, berth.busy_since)
        stillness = self._hang.stillness(
            pulse, in_flight=berth.in_flight, quiet_since=quiet_since, now=now
        )
        if stillness is not None:
            berth.hung_at = berth.gone_at = now
            self._set(berth, circuit.hung(stillness, until=now + (self._hang.after_s or 0.0)))
            return berth.circuit.epoch != circuit.epoch
        if pulse.moved_at > berth.hung_at:
            circuit = circuit.moved()
        # Its time may be up while no line asks: with all of them open nothing would be claimed for ever.
        due = circuit.at(now)
        self._set(berth, circuit.seen_alive(share=self._share) if due is circuit else due)
        return False

    def _hear_way(self, stay: Stay, sign: Sign, why: str) -> None:
        self._set_way(
            self._way.heard(
                sign, epoch=stay.way_epoch, share=self._limit, now=self._monotonic(), why=why
            )
        )

    def _set_way(self, circuit: Circuit) -> None:
        if circuit.epoch != self._way.epoch:
            self._way_fresh = 0
        self._way = circuit

    def _set(self, berth: Berth, circuit: Circuit) -> None:
        before, berth.circuit = berth.circuit, circuit
        if circuit.epoch != before.epoch:
            berth.fresh = 0
        if circuit.state is before.state:
            return
        self._spread()
        berth.since = self._clock()
        if circuit.state is State.OPEN and before.state is State.CLOSED:
            log.warning("backend %s is taken out: %s", berth.name, circuit.reason)
        elif circuit.state is State.CLOSED:
            log.info("backend %s takes its full share", berth.name)

    # -- telling

    @property
    def trouble(self) -> str | None:
        """Why no line at all can be sent, in words, or None."""
        if self._way.failures and self._way.allowance <= 1:
            return self._way.reason
        if any(b.circuit.state is not State.OPEN or b.circuit.is_mild for b in self.berths):
            return None
        return "; ".join(f"{berth.name} {berth.circuit.reason}" for berth in self.berths)

    def is_unserved(self, model: str | None) -> bool:
        """Whether backends are in service, and none of them serves this model."""
        model = self._asked(model)
        in_service = [b for b in self.berths if b.circuit.state is not State.OPEN]
        return bool(in_service) and not any(berth.serves(model) for berth in in_service)

    def opens_in_s(self) -> float | None:
        """How long until an open circuit is tried again by itself; None: not by itself."""
        circuits = [self._way, *(berth.circuit for berth in self.berths)]
        times = [c.until for c in circuits if c.state is State.OPEN]
        first = min(times, default=float("inf"))
        return None if first == float("inf") else max(0.0, first - self._monotonic())

    def described(self, backends: Sequence[BackendStatus]) -> list[BackendStatus]:
        """Add to what the probe saw how each backend stands here."""
        berths = {berth.name: berth for berth in self.berths}
        return [
            backend
            if (berth := berths.get(backend.name)) is None
            else replace(
                backend,
                circuit=str(berth.circuit.state),
                circuit_since=int(berth.since),
                circuit_reason=berth.circuit.reason,
                in_flight=berth.in_flight,
            )
            for backend in backends
        ]


def _has_room(berth: Berth, share: int) -> bool:
    if berth.in_flight >= share:
        return False
    circuit = berth.circuit
    return circuit.state is State.CLOSED or berth.fresh < circuit.allowance
