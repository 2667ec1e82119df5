"""What tells one kind of failure from another: status, code and message, less what differs by line. Pure.

Two lines that fail for the same reason rarely get the same text: numbers and quoted parts differ. Without
those their messages are equal, and a batch's failures can be counted and compared by kind.
"""

from __future__ import annotations

import re

import msgspec

from .error_texts import read_error

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


def signature_of(status: int, body: bytes) -> Signature:
    """Return the signature of an error answer, whatever form its body has."""
    error = read_error(body)
    return Signature(status, error.code or error.kind, plain(error.message))


def without_answer(code: str, message: str) -> Signature:
    """Return the signature of a failure without any answer."""
    return Signature(0, code, plain(message))


def plain(message: str) -> str:
    """Take numbers and quoted parts out of a message."""
    text = _QUOTED.sub("…", message[:_READ_CHARS])
    return _SPACE.sub(" ", _NUMBER.sub("#", text)).strip()[:_MESSAGE_CHARS]
