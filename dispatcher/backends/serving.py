"""Which backends serve what: models, endpoints, long lines. Who of them has room is `balancer`'s matter.

Known from what the probe reads, lists of models and endpoints, and from refusals (`lacks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchline.clock import Clock

from .backend import Backend
from .lacks import Lacking, Need
from .unserved import Unserved


class Serving:
    """What the backends serve, alive or not, and what nobody serves any more.

    `grace_s`: so long a backend that is out is expected back, and a model that is gone may come back.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        knows_models: bool,
        grace_s: float,
        clock: Clock,
    ) -> None:
        self._backends = backends
        self._knows_models = knows_models
        self._grace_s = grace_s
        self._unserved = Unserved(grace_s=grace_s)
        self._clock = clock

    def asked(self, model: str | None) -> str | None:
        """Leave the model aside where models that nobody lists are served, too."""
        if self._knows_models or any(model in backend.models for backend in self._backends):
            return model
        return None

    def may_take(self, backend: Backend, need: Need, now: float) -> bool:
        """Whether it has what such a line needs, as far as is known; alive or not, reserved or not."""
        if not backend.serves(self.asked(need.model)) or need.endpoint in backend.not_offered:
            return False
        return not backend.lacks or backend.lacks.allow(need, now)

    def has_other(self, need: Need, than: str) -> bool:
        """Whether another backend than this may take such a line: one in service, or expected back."""
        now = self._clock.monotonic()
        return any(
            b.name != than and not (b.is_open and now >= b.out_since + self._grace_s)
            for b in self._suited(need)
        )

    def can_serve(self, model: str | None) -> bool:
        """Whether some backend is known to serve it, or none is known not to; alive or not."""
        return any(self._serves(backend, model) for backend in self._backends)

    def is_unserved(self, model: str | None) -> bool:
        """Whether backends are in service, and none of them serves this model."""
        in_service = self._in_service()
        return bool(in_service) and not any(self._serves(backend, model) for backend in in_service)

    def is_gone(self, model: str | None) -> bool:
        """Whether the grace of a model that nobody serves is over: its lines wait no longer."""
        if model is None or not self.is_unserved(model) or self.can_serve(model):
            return False
        now = self._clock.monotonic()
        listing = [backend for backend in self._backends if backend.serves(self.asked(model))]
        if any(not backend.lacks.is_known(Lacking.MODEL, model, now) for backend in listing):
            return False  # one is asked again just now, or about to be
        return self._unserved.is_gone(model, now)

    def record_probe(self) -> None:
        """Take in that the lists were read: what is served again is not on its way out any more."""
        is_known = bool(self._in_service())
        self._unserved.record_probe(lambda model: not is_known or self.can_serve(model))

    def lacking(self, need: Need, *, but: Backend | None = None) -> str | None:
        """Say why backends are in service and none of them takes such a line, or None.

        `but`: the one that the line avoids, whatever happens.
        """
        in_service = self._in_service()
        suited = [backend for backend in self._suited(need) if not backend.is_open]
        if not in_service or any(backend is not but for backend in suited):
            return None
        if but is not None and suited:
            return f"{but.name} refused it, and no other backend is in service to be asked."
        if self.is_unserved(need.model):
            return f"No backend in service serves {need.model}."
        reasons = [(b.name, reason) for b in in_service for reason in b.reasons_against(need)]
        return "; ".join(f"{name} {reason}" for name, reason in reasons) + "."

    @property
    def models(self) -> list[str]:
        """The models that backends in service list, sorted."""
        return sorted(
            {
                model
                for backend in self._in_service()
                for model in backend.models.difference(backend.lacks.names(Lacking.MODEL))
            }
        )

    def _in_service(self) -> list[Backend]:
        return [backend for backend in self._backends if not backend.is_open]

    def _serves(self, backend: Backend, model: str | None) -> bool:
        if not backend.serves(self.asked(model)):
            return False
        return model is None or not backend.lacks.has(Lacking.MODEL, model)

    def _suited(self, need: Need) -> Iterator[Backend]:
        """Yield the backends that lack nothing of this, in service or not; those that never were, not."""
        model = self.asked(need.model)
        return (
            backend
            for backend in self._backends
            if not (backend.is_open and not backend.answered_at)
            and backend.serves(model)
            and not any(backend.reasons_against(need))
        )
