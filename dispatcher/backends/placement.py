"""Which backend gets a line: of those that may take one, the one with the fewest of our requests.

Behind our nginx (backends are named, and the upstream is none of them) the dispatcher chooses and nginx
obeys. Otherwise there is one berth, the upstream itself. Each berth has a circuit, fed by the probe's
looks and by how lines end; so has the way there, nginx. Sends nothing: `flight` asks and tells.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from batchline.config.server_url import server_name
from batchline.model import BackendStatus

from .berth import Avoids, Berth, News, Stay
from .circuit import ERRORS, Circuit, Sign, State
from .lacks import ANY, Lacking, Lacks, Need
from .odd_lists import OddLists
from .pulse import HangLimits, Pulse
from .serving import Serving
from .way import Way

log = logging.getLogger(__name__)

_GRACE_S = 60.0
_TRIALS_IN_GRACE = 6
"""At least so often a model that is lacking is asked for before its lines fail."""
_MOST_SHARES = 1000


class Placement:
    """The berths, and the choice between them."""

    def __init__(
        self,
        upstream_url: str,
        backend_urls: Sequence[str],
        *,
        hang: HangLimits,
        knows_models: bool = True,
        grace_s: float = _GRACE_S,
        max_attempts: int = ERRORS,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a look. No sick server shall use up the `max_attempts` tries of a line."""
        self.is_pinned = bool(backend_urls) and upstream_url not in backend_urls
        names = map(server_name, backend_urls if self.is_pinned else [upstream_url])
        self.berths = tuple(
            Berth(
                name,
                name if self.is_pinned else None,
                lacks=Lacks(longest_s=grace_s / _TRIALS_IN_GRACE),
            )
            for name in names
        )
        self.way = Way()
        self._hang = hang
        self.serving = Serving(
            self.berths, knows_models=knows_models, grace_s=grace_s, monotonic=monotonic
        )
        self._clock = clock
        self._monotonic = monotonic
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
        self, need: Need = ANY, avoid: Berth | None = None, avoids: Avoids = Avoids.NOW
    ) -> Stay | None:
        """Give a line its berth, until `left`. None: none may take it now."""
        berth = self._find(need, avoid, avoids)
        return None if berth is None else self.place_at(berth, need)

    def place_at(self, berth: Berth, need: Need = ANY) -> Stay:
        """Give a line a place at this berth, which has `room_at` it."""
        if not berth.in_flight:
            berth.busy_since = self._monotonic()
        berth.in_flight += 1
        berth.fresh += 1
        is_trial = bool(berth.lacks) and any(berth.lacks.reasons(need))
        if is_trial:
            berth.lacks.tried(need, self._monotonic())
        return Stay(berth, berth.circuit.epoch, self.way.took(), need, is_trial)

    def left(self, stay: Stay) -> None:
        """Take note that the line is there no more."""
        berth, stay.is_over = stay.berth, True
        berth.in_flight -= 1
        if stay.epoch == berth.circuit.epoch:
            berth.fresh -= 1
        if stay.is_trial:
            berth.lacks.untried(stay.need, self._monotonic())
        self.way.left(stay.way_epoch)

    def is_usable(self, berth: Berth) -> bool:
        """Whether its circuit lets any line through."""
        self._reopen(berth, self._monotonic())
        return self._has_looked and not berth.is_open

    def room_at(self, berth: Berth) -> int:
        """How many lines may be sent to this berth now."""
        now = self._monotonic()
        if not self.is_usable(berth) or not self.way.is_open(now):
            return 0
        if not berth.pressure.lets(held=berth.in_flight, now=now):
            return 0
        room = self._share(ANY) - berth.in_flight
        if berth.circuit.state is not State.CLOSED:
            room = min(room, berth.circuit.allowance - berth.fresh)
        return max(0, room)

    @property
    def has_room(self) -> bool:
        """Whether any line could be placed, whatever it needs."""
        return self._find(ANY) is not None

    def _find(
        self, need: Need, avoid: Berth | None = None, avoids: Avoids = Avoids.NOW
    ) -> Berth | None:
        now = self._monotonic()
        if not self._has_looked or not self.way.is_open(now):
            return None
        model, share = self.serving.asked(need.model), self._share(need)
        best: Berth | None = None
        has_others = False
        for berth in self.berths:
            self._reopen(berth, now)
            if berth.is_open or berth is avoid or not berth.takes(need, model, now):
                continue
            has_others = True
            if berth.has_room(share, now) and (best is None or berth.in_flight < best.in_flight):
                best = berth
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
            berth.pressure.cap
            for berth in self.berths
            if not berth.is_open and not (berth.lacks and any(berth.lacks.reasons(need)))
        )
        left = self._limit
        while caps and caps[0] < left / len(caps):
            left -= int(caps.pop(0))  # the others may have what a full one cannot take
        return max(1, -(-left // max(1, len(caps))))

    # -- learning from lines

    def heard(self, stay: Stay, news: News) -> None:
        """Take in how a line ended."""
        berth, now, sign = stay.berth, self._monotonic(), news.sign
        if sign is Sign.WELL:
            berth.answered_at = now
            self._answered(stay, news, now)
        elif sign is Sign.REJECTED:
            berth.answered_at = now
        elif sign is Sign.REFUSED:
            berth.gone_at, berth.is_leaving = now, True
        elif sign is Sign.FULL:
            held = berth.in_flight - 1
            berth.pressure = berth.pressure.full(held=held, now=now)
            self._shares.clear()
        if news.lacking is not None:
            self._lacks(stay, news, news.lacking, now)
        if self.is_pinned and news.backend != berth.name and sign in {Sign.LOST, Sign.ERROR}:
            return  # nobody knows whose doing it was
        if sign is Sign.WELL and berth.circuit.is_spotless:
            return
        share = self._share(stay.need)
        circuit = berth.circuit.heard(
            sign,
            epoch=stay.epoch,
            share=share,
            now=now,
            why=news.why,
            most_errors=self._most_errors,
        )
        if circuit.needs_proof and not berth.is_open:
            berth.doubted, berth.is_refusing = stay.need, False
        self._set(berth, circuit)

    def lost_way(self, stay: Stay, news: News) -> None:
        """Take in that nginx took no connection, or broke one off: no backend is to blame."""
        now = self._monotonic()
        self.way.heard(
            news.sign, epoch=stay.way_epoch, share=self._limit, now=now, why=f"nginx {news.why}"
        )

    def _answered(self, stay: Stay, news: News, now: float) -> None:
        berth = stay.berth
        if self.is_pinned and news.backend is None and not self._is_disobeyed:
            self._is_disobeyed = True
            log.warning(
                "the upstream does not take lines to the backend that they are sent to (%s): "
                "is it batchline's nginx, and does it name the same servers?",
                berth.name,
            )
        if self.way.circuit.state is not State.CLOSED:
            self.way.heard(Sign.WELL, epoch=stay.way_epoch, share=self._limit, now=now, why="")
        berth.pressure = berth.pressure.answered()
        if berth.lacks:
            berth.lacks.answered(stay.need)
            self._compare_lacks()

    def _lacks(self, stay: Stay, news: News, lacking: Lacking, now: float) -> None:
        need = stay.need._replace(size_bytes=news.size_bytes)
        if stay.berth.lacks.note(lacking, need, news.why, now=now):
            log.warning("backend %s %s", stay.berth.name, news.why)
        self._compare_lacks()

    def _compare_lacks(self) -> None:
        self._shares.clear()
        self._bounds = [b.lacks.most_bytes for b in self.berths if b.lacks and b.lacks.most_bytes]

    # -- doubt and proof

    def doubt(self, berth: Berth, why: str, need: Need) -> None:
        """Take a backend out that refuses what another one answers, until a canary is answered."""
        if not berth.is_open:
            berth.doubted, berth.is_refusing = need, True
            self._set(berth, berth.circuit.doubt(why, self._monotonic()))

    def due_for_proof(self) -> list[Berth]:
        """Return the backends that a canary shall be sent to now."""
        now = self._monotonic()
        return [berth for berth in self.berths if berth.circuit.is_due(now)]

    def proven(self, berth: Berth, fault: str | None = None) -> None:
        """Take in that a canary was answered, or why it was not (`fault`)."""
        now, circuit = self._monotonic(), berth.circuit
        self._set(berth, circuit.disproven(fault, now) if fault else circuit.proven(now))

    # -- learning from looks

    def looked(self, backends: Sequence[BackendStatus], pulses: Mapping[str, Pulse]) -> list[Berth]:
        """Take in what the probe saw; return the berths whose lines are to be taken away."""
        self._has_looked = True
        self.looks += 1
        self.way.looked(share=self._limit, now=self._monotonic())
        statuses = {backend.name: backend for backend in backends}
        hung = [
            berth
            for berth in self.berths
            if (status := statuses.get(berth.name)) is not None
            and self._look(berth, status, pulses.get(berth.name, Pulse()))
        ]
        self._shares.clear()
        self._odd.compare({berth.name: berth.models for berth in self.berths})
        self.serving.looked()
        return hung

    def _look(self, berth: Berth, status: BackendStatus, pulse: Pulse) -> bool:
        """Take in one look; tell whether what is in flight there has to be taken away."""
        now, circuit = self._monotonic(), berth.circuit
        if silence := self._hang.silence(pulse, answered_at=berth.answered_at, now=now):
            berth.gone_at = now
            self._set(berth, circuit.seen_dead(silence, is_wary=True))
            return berth.circuit.epoch != circuit.epoch
        if not status.alive and not pulse.is_late(answered_at=berth.answered_at):
            berth.gone_at = now
            berth.is_leaving = pulse.silent_since is None
            self._set(berth, circuit.seen_dead(status.reason or "is not alive"))
            return False
        berth.is_leaving = False
        if status.alive:
            self._list(berth, frozenset(status.models))
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
        share = self._share(ANY)
        self._set(berth, circuit.seen_alive(share=share) if due is circuit else due)
        return False

    def _list(self, berth: Berth, models: frozenset[str]) -> None:
        """Take in what it lists: what it does not list any more need not be asked for to be known."""
        berth.models = models
        for model in berth.lacks.names(Lacking.MODEL) if berth.lacks and models else ():
            if model not in models:
                berth.lacks.forget(Lacking.MODEL, model)

    def _reopen(self, berth: Berth, now: float) -> None:
        if berth.circuit.until <= now:
            self._set(berth, berth.circuit.at(now))

    def _set(self, berth: Berth, circuit: Circuit) -> None:
        before, berth.circuit = berth.circuit, circuit
        if circuit.epoch != before.epoch:
            berth.fresh = 0
        if circuit.state is before.state:
            return
        self._shares.clear()
        berth.since = self._clock()
        if before.state is State.CLOSED:
            berth.out_since = self._monotonic()
        if circuit.state is State.OPEN and before.state is State.CLOSED:
            log.warning("backend %s is taken out: %s", berth.name, circuit.reason)
        elif circuit.state is State.CLOSED:
            log.info("backend %s takes its full share", berth.name)

    # -- telling

    @property
    def trouble(self) -> str | None:
        """Why no line at all can be sent, in words, or None."""
        if trouble := self.way.trouble:
            return trouble
        if any(not berth.is_open for berth in self.berths):
            return None
        return "; ".join(f"{berth.name} {berth.circuit.reason}" for berth in self.berths)

    def opens_in_s(self) -> float | None:
        """How long until something is tried again by itself; None: not by itself."""
        now = self._monotonic()
        circuits = [self.way.circuit, *(berth.circuit for berth in self.berths)]
        times = [c.until - now for c in circuits if c.state is State.OPEN and not c.needs_proof]
        times += [berth.pressure.until - now for berth in self.berths]
        coming = [time_s for time_s in times if 0 <= time_s < float("inf")]
        return min(coming, default=None)
