"""How fast a watched batch moves and when it will be done, from what the API told of it lately."""

from __future__ import annotations

from batchline import estimate
from batchline.states import BatchStatus

from .batch import ApiBatch


class Pace:
    """Show it every look at one batch; read the rates per second and the end, None while unknown."""

    def __init__(self) -> None:
        self._track = estimate.Track()
        self.end: float | None = None
        """When the batch will be done (Unix seconds)."""
        self.left_s: float | None = None
        """How long that was from the last look."""

    def observe(self, batch: ApiBatch, *, at_s: float, now: float) -> None:
        """Note the batch as it is `now`; `at_s` is monotonic."""
        started = batch.at("in_progress_at")
        ran_s = None if started is None else now - started
        self._track.add(
            at_s, finished=batch.finished, output_tokens=batch.output_tokens, ran_s=ran_s
        )
        moving = estimate.Moving(
            batch.id,
            batch.finished,
            batch.total,
            ran_s=ran_s,
            per_s=self._track.rate(window_s=estimate.END_WINDOW_S) or 0.0,
        )
        is_running = batch.status is BatchStatus.IN_PROGRESS and not batch.is_paused
        is_running = is_running and not batch.is_open  # nobody knows how many more will come
        shown = {} if self.end is None else {batch.id: self.end}
        found = estimate.ends([moving] if is_running else [], now=now, shown=shown)
        self.end = found.get(batch.id)
        self.left_s = None if self.end is None else max(0.0, self.end - now)

    @property
    def lines_per_s(self) -> float | None:
        """Lines that got their outcome, per second."""
        return self._track.rate()

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens generated, per second."""
        return self._track.token_rate()
