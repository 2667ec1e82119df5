"""A batch as the API shows it. Every field is checked, since the server may have another version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean
from batchline.states import TERMINAL, BatchStatus

Json = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")


@dataclass(frozen=True, slots=True)
class ApiFault:
    """One reason why a batch failed."""

    code: str
    message: str
    line: int | None


@dataclass(frozen=True, slots=True)
class ApiBatch:
    """What the commands show of a batch. `raw` is the server's object, for --json."""

    raw: Mapping[str, Any]
    id: str
    status: BatchStatus
    name: str
    total: int
    completed: int
    failed: int
    output_tokens: int
    total_tokens: int
    faults: tuple[ApiFault, ...]

    @property
    def finished(self) -> int:
        """Lines that have an outcome."""
        return self.completed + self.failed

    @property
    def has_ended(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in TERMINAL

    @property
    def is_paused(self) -> bool:
        """Whether it is paused (other servers than batchline have no pauses)."""
        return self.at("paused_at") is not None

    @property
    def is_open(self) -> bool:
        """Whether requests can be added to it."""
        return self.raw.get("open") is True

    @property
    def warning(self) -> str | None:
        """What a follower must be told: why it paused by itself, or that most lines fail."""
        if self.is_paused and self.faults:
            return self.faults[0].message
        return self.text("failing")

    @property
    def ended_at(self) -> int | None:
        """When it ended (Unix seconds), or None."""
        return next((at for key in _ENDS if (at := self.at(key)) is not None), None)

    def at(self, key: str) -> int | None:
        """Return one of its times, such as `in_progress_at`."""
        value = self.raw.get(key)
        return value if isinstance(value, int) else None

    def text(self, key: str) -> str | None:
        """Return one of its texts, such as `output_file_id`."""
        value = self.raw.get(key)
        return value if isinstance(value, str) and value else None


def read_batch(raw: Json) -> ApiBatch:
    """Read a batch object. Raises Failure if it is none."""
    try:
        status = BatchStatus(raw["status"])
        batch_id = identity(raw["id"])
    except (KeyError, TypeError, ValueError) as exc:
        raise Failure(
            "The server's answer is not a batch.",
            why=f"Missing or unknown: {clean(str(exc), limit=200)}.",
            remedy="check that --url names a batchline gateway of this version",
            code=ExitCode.UNREACHABLE,
        ) from exc
    counts, usage = _mapping(raw, "request_counts"), _mapping(raw, "usage")
    name = _mapping(raw, "metadata").get("name")
    return ApiBatch(
        raw=raw,
        id=batch_id,
        status=status,
        name=name if isinstance(name, str) and name else batch_id,
        total=_integer(counts, "total"),
        completed=_integer(counts, "completed"),
        failed=_integer(counts, "failed"),
        output_tokens=_integer(usage, "output_tokens"),
        total_tokens=_integer(usage, "total_tokens"),
        faults=tuple(_fault(f) for f in _list(_mapping(raw, "errors"), "data")),
    )


def _fault(raw: Any) -> ApiFault:
    fields = raw if isinstance(raw, dict) else {}
    line = fields.get("line")
    return ApiFault(
        code=str(fields.get("code") or ""),
        message=str(fields.get("message") or ""),
        line=line if isinstance(line, int) else None,
    )


def identity(value: Any) -> str:
    """Return what is an id. Raises ValueError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("id")
    return value


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _list(raw: Mapping[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _integer(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) else 0
