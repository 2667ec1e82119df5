"""Retries of a command while the server cannot be reached: it may be restarting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_fixed

from batchline.cli.failure import ExitCode, Failure

T = TypeVar("T")

PATIENCE_S = 120.0
_PAUSE_S = 1.0


class Patience:
    """Retries until nothing was heard for a time, counted from the first attempt or the last `heard()`."""

    def __init__(self, patience_s: float = PATIENCE_S, *, pause_s: float = _PAUSE_S) -> None:
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._heard_s = time.monotonic()

    def heard(self) -> None:
        """Start the time anew: the server has answered."""
        self._heard_s = time.monotonic()

    def keep_trying(self, attempt: Callable[[], T], *, tell: Callable[[Failure], None]) -> T:
        """Call `attempt` until it succeeds; call `tell` with each failure but the last.

        Raises Failure: the last one, or at once one of a server that answered.
        """

        def tell_of(state: RetryCallState) -> None:
            failure = state.outcome and state.outcome.exception()
            assert isinstance(failure, Failure), "nothing else is tried again"
            tell(failure)

        return Retrying(
            retry=retry_if_exception(_is_unreachable),
            stop=lambda _: time.monotonic() - self._heard_s >= self._patience_s,
            wait=wait_fixed(self._pause_s),
            before_sleep=tell_of,
            reraise=True,
        )(attempt)


def _is_unreachable(exc: BaseException) -> bool:
    return isinstance(exc, Failure) and exc.code is ExitCode.UNREACHABLE
