"""When files expire: as the client asks; the input and the results of a batch else by a setting. Pure."""

from __future__ import annotations


def upload_expires_at(
    created_at: int, *, asked_s: int | None, is_input: bool, ttl_s: int
) -> int | None:
    """Return when an uploaded file expires, None for never.

    `asked_s`: its `expires_after`; `is_input`: whether its purpose is `batch`; `ttl_s`: the setting
    `file_ttl_s`, 0 for never.
    """
    return _after(created_at, asked_s, ttl_s if is_input else 0)


def results_expire_at(ended_at: int, *, asked_s: int | None, ttl_s: int) -> int | None:
    """Return when a batch's output and error file expire. `asked_s`: its `output_expires_after`."""
    return _after(ended_at, asked_s, ttl_s)


def _after(start: int, asked_s: int | None, ttl_s: int) -> int | None:
    seconds = ttl_s if asked_s is None else asked_s
    return start + seconds if seconds else None
