"""How long an upstream asks to be left alone: its Retry-After header (RFC 9110 §10.2.3)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

_MAX_RETRY_AFTER_S = 600.0


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read Retry-After (RFC 9110 §10.2.3: seconds or a date) as seconds from `now`, bounded."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S) if seconds == seconds else None  # noqa: PLR0124 - NaN
