"""The body of every 4xx and 5xx."""

from __future__ import annotations

import msgspec


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """The error itself; all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every 4xx and 5xx."""

    error: ErrorObject


def error_answer(
    message: str, *, kind: str, param: str | None = None, code: str | None = None
) -> ErrorAnswer:
    """Build the body of a 4xx or 5xx."""
    return ErrorAnswer(error=ErrorObject(message=message, type=kind, param=param, code=code))
