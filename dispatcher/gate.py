"""The gate before every send: closed with a reason while nobody can be reached or nothing stored."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Gate:
    """Open, or closed for one or more named reasons."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str | None:
        """Why it is closed, in words, or None while it is open."""
        return next(iter(self._reasons.values()), None)

    @property
    def is_open(self) -> bool:
        """True while lines may be sent."""
        return not self._reasons

    def close(self, cause: str, reason: str) -> None:
        """Close it for `cause`; `reason` is shown to people."""
        if cause not in self._reasons:
            log.warning("dispatch pauses: %s", reason)
        self._reasons[cause] = reason

    def open(self, cause: str) -> bool:
        """Take `cause` back; True if that opened the gate."""
        if self._reasons.pop(cause, None) is None:
            return False
        if self.is_open:
            log.info("dispatch goes on")
        return self.is_open
