"""Ids of batches in both dialects: `msgbatch_<x>` there is `batch_<x>` here. Pure."""

from __future__ import annotations

_HERE, _THERE = "batch_", "msgbatch_"


def shown_id(batch_id: str) -> str:
    """Return what Anthropic's clients call a batch of ours."""
    return _THERE + batch_id.removeprefix(_HERE)


def own_id(shown: str) -> str | None:
    """Return which batch of ours is meant, or None if it can be none."""
    return _HERE + shown.removeprefix(_THERE) if shown.startswith(_THERE) else None
