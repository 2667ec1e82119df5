"""What tells one kind of failure from another: status, code and message, less what differs by line. Pure.

Two lines that fail for the same reason rarely get the same text: numbers and quoted parts differ. Without
those their messages are equal, and a batch's failures can be counted and compared by kind.
"""

from __future__ import annotations

import re

import msgspec

_MESSAGE_CHARS = 200
_READ_CHARS = 2000
"""No pattern below backtracks, and none reads more than this."""

_QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|(?<!\w)'[^']*'")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SPACE = re.compile(r"\s+")


class Signature(msgspec.Struct, frozen=True, order=True):
    """One kind of failure."""

    status: int
    """The HTTP status; 0 where there was no answer."""
    code: str
    message: str
    """Without numbers (`#`) and quoted parts (`…`); a stable part of it is left in any case."""

    def __str__(self) -> str:
        """Say it in one line, for people."""
        head = " ".join(filter(None, (str(self.status or ""), self.code)))
        return f"{head}: {self.message}" if head and self.message else head or self.message


class _Error(msgspec.Struct):
    message: object = None
    code: object = None
    type: object = None


class _Body(msgspec.Struct):
    error: object = None
    detail: object = None


def signature_of(status: int, body: bytes) -> Signature:
    """Return the signature of an error answer, whatever form its body has."""
    code, message = _read(body)
    return Signature(status, code, plain(message))


def without_answer(code: str, message: str) -> Signature:
    """Return the signature of a failure without any answer."""
    return Signature(0, code, plain(message))


def plain(message: str) -> str:
    """Take numbers and quoted parts out of a message."""
    text = _QUOTED.sub("…", message[:_READ_CHARS])
    return _SPACE.sub(" ", _NUMBER.sub("#", text)).strip()[:_MESSAGE_CHARS]


def _read(body: bytes) -> tuple[str, str]:
    try:
        found = msgspec.json.decode(body, type=_Body)
        if isinstance(found.error, dict):
            error = msgspec.convert(found.error, _Error)
            # A numeric code repeats the status; the kind of error says more.
            code = error.code if isinstance(error.code, str) else error.type
            return _text(code), _text(error.message)
        return "", _text(found.error or found.detail)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return "", body[:_READ_CHARS].decode("utf-8", "replace")


def _text(value: object) -> str:
    if value is None:
        return ""
    return (
        value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8", "replace")
    )
