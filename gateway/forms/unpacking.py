"""Whether a file is unpacked as it arrives, and the name that it has then. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from batchline.jsonl.compression import Coding, split_ending

from .filenames import unpacked_filename

BATCH = "batch"
"""The purpose of files that batches read: they are unpacked by their names, too."""


@dataclass(frozen=True, slots=True)
class Unpacking:
    """What is done to the bytes of one file."""

    filename: str
    coding: Coding | None = None
    """How they are unpacked; None: they are stored as they come."""
    postponed: Coding | None = None
    """What the name tells, where the purpose comes after the bytes: it decides then."""


def unpacking(
    filename: str, *, declared: Coding | None, purpose: str | None, by_name: bool
) -> Unpacking:
    """Decide by the header of the part (`declared`), else, for a batch, by the file's name."""
    _, named = split_ending(filename)
    if declared is None and by_name and purpose is None:
        return Unpacking(filename, postponed=named)
    is_named = named is not None and by_name and purpose == BATCH
    coding = declared or (named if is_named else None)
    if is_named or (declared is not None and named is declared):
        filename = unpacked_filename(filename)
    return Unpacking(filename, coding)
