"""Who answers on a port of ours: what `/health` tells of a process, and whether it is the one meant.

The one owner of that question: the processes tell it, the supervisor and doctor ask. Pure.
"""

from __future__ import annotations

import hashlib
import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from batchline import __version__

_MARK_CHARACTERS = 16


class Part(StrEnum):
    """The processes of batchline that answer `/health`."""

    GATEWAY = "batchline gateway"
    DISPATCHER = "batchline dispatcher"
    DELIVERER = "batchline deliverer"


def name_of(part: Part) -> str:
    """Return the name of the process alone, such as `dispatcher`."""
    return part.removeprefix("batchline ")


def identity(part: Part, data_dir: Path) -> dict[str, Any]:
    """Return what this process tells of itself; the data directory as a mark that gives no path away."""
    return {
        "status": "ok",
        "service": part,
        "version": __version__,
        "pid": os.getpid(),
        "data": _mark(data_dir),
    }


def is_part(part: Part, told: object) -> bool:
    """Whether `told`, the JSON of `/health`, comes from such a process, anybody's."""
    return isinstance(told, dict) and told.get("service") == part


def is_process(part: Part, told: object, *, pid: int) -> bool:
    """Whether it comes from this very process."""
    return is_part(part, told) and isinstance(told, dict) and told.get("pid") == pid


def is_ours(part: Part, told: object, *, data_dir: Path) -> bool:
    """Whether it comes from such a process on this data directory."""
    return is_part(part, told) and isinstance(told, dict) and told.get("data") == _mark(data_dir)


def _mark(data_dir: Path) -> str:
    whole = os.fsencode(data_dir.expanduser().resolve())
    return hashlib.sha256(whole).hexdigest()[:_MARK_CHARACTERS]
