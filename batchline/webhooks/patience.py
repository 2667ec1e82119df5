"""When a delivery is tried again, and when it is given up. Pure.

Waits double from seconds to an hour, with jitter, so that a receiver that comes back is not met by all at
once. After 72 hours a delivery is given up (as at OpenAI); `replay` makes it anew.
"""

from __future__ import annotations

from .records import Attempted, DeliveryState

GIVEN_UP_AFTER_S = 72 * 3600
LATE_S = GIVEN_UP_AFTER_S + 3600
"""A delivery whose last attempt has not come by then is given up without it."""
_FIRST_S = 5.0
_LONGEST_S = 3600.0


def after_failure(
    *,
    attempts: int,
    since: int,
    now: float,
    luck: float,
    status: int | None,
    error: str,
    asked_s: float | None = None,
) -> Attempted:
    """Return what becomes of a delivery whose attempt failed.

    `attempts`: how many were made before this one; `luck`: from 0 to 1; `asked_s`: Retry-After.
    """
    wait_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempts, 30))
    wait_s = max(wait_s * (0.5 + luck / 2), min(asked_s or 0.0, _LONGEST_S))
    last = since + GIVEN_UP_AFTER_S
    if now >= last:
        return Attempted(DeliveryState.GIVEN_UP, status=status, error=error)
    due_at = int(min(now + max(1.0, wait_s), last))
    return Attempted(DeliveryState.PENDING, due_at=due_at, status=status, error=error)
