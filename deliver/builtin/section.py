"""Reads what an operator set for a built-in handler into the record of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def read_section(settings: Mapping[str, Any], form: type[S]) -> S:
    """Return the settings as a record. Raises ValueError naming what is missing, wrong or unknown."""
    try:
        return msgspec.convert(dict(settings), form)
    except msgspec.ValidationError as exc:
        known = ", ".join(form.__struct_fields__)
        raise ValueError(f"{exc}. Its settings are: {known}") from exc
