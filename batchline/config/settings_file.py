"""Reads the YAML file of settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchline.errors import Invalid

from .bounded_yaml import MOST_BYTES, read_yaml
from .unknown_names import CONFIG_VARIABLE, unknown_keys


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What a file says, by setting."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    """What is told of the names in it that are none."""


def read_settings_file(path: Path, fields: Collection[str]) -> SettingsFile:
    """Read the file; `fields` are the names of the settings. Raises Invalid: it cannot be read."""
    try:
        with path.open("rb") as file:
            content = read_yaml(file.read(MOST_BYTES + 1))
    except (OSError, ValueError) as exc:
        raise Invalid(f"{CONFIG_VARIABLE} names {path}, which cannot be read: {exc}") from exc
    if not isinstance(content, Mapping | None):
        raise Invalid(f"{path} must hold a mapping of settings, such as 'port: 5000'.")
    values = {str(name): value for name, value in (content or {}).items()}
    return SettingsFile(values, tuple(unknown_keys(values, fields, f" (in {path})")))
