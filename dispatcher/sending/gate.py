"""The gate before every send: closed with a reason while nobody can be reached or nothing stored."""

from __future__ import annotations

import logging
from enum import StrEnum

log = logging.getLogger(__name__)


class Cause(StrEnum):
    """What closes the gate."""

    NO_BACKEND = "no_backend"
    STORAGE = "storage"
    """The disk or the database refuses results."""
    DISK = "disk"
    """Less space is left than shall be kept free."""


class Gate:
    """Open, or closed for one or more causes, each with its reason."""

    def __init__(self) -> None:
        self._reasons: dict[Cause, str] = {}

    @property
    def reason(self) -> str | None:
        """Why it is closed, in words (every cause), or None while it is open."""
        if not self._reasons:
            return None
        return "; ".join(reason.rstrip(".") for reason in self._reasons.values()) + "."

    @property
    def is_open(self) -> bool:
        """True while lines may be sent."""
        return not self._reasons

    @property
    def may_try(self) -> bool:
        """True while at most backends are lacking: then single lines try whether they are back."""
        return not self._reasons or self._reasons.keys() == {Cause.NO_BACKEND}

    def has(self, cause: Cause) -> bool:
        """True while it is closed for this cause (and perhaps others)."""
        return cause in self._reasons

    def close(self, cause: Cause, reason: str) -> None:
        """Close it for `cause`; `reason` is shown to people."""
        if cause not in self._reasons:
            log.warning("dispatch pauses: %s", reason)
        self._reasons[cause] = reason

    def open(self, cause: Cause) -> None:
        """Take `cause` back; harmless if it was not closed for it."""
        if self._reasons.pop(cause, None) is not None and self.is_open:
            log.info("dispatch goes on")
