"""Reads the YAML file of settings, in our own form or the earlier one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchline.errors import Invalid

from . import earlier_form
from .bounded_yaml import MOST_BYTES, read_yaml
from .unknown_names import CONFIG_VARIABLE, unknown_keys


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What a file says, by setting."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    """What is told of the names in it that are none."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Setting -> key of the earlier form, with the file's name."""

    def keys_without(self, elsewhere: Collection[str]) -> dict[str, str]:
        """Return `keys` less the settings that are given elsewhere, where another value wins."""
        return {name: key for name, key in self.keys.items() if name not in elsewhere}


def read_settings_file(path: Path, fields: Collection[str]) -> SettingsFile:
    """Read the file; `fields` are the names of the settings. Raises Invalid: it cannot be read."""
    try:
        with path.open("rb") as file:
            content = read_yaml(file.read(MOST_BYTES + 1))
    except (OSError, ValueError) as exc:
        raise Invalid(f"{CONFIG_VARIABLE} names {path}, which cannot be read: {exc}") from exc
    if not isinstance(content, Mapping | None):
        raise Invalid(f"{path} must hold a mapping of settings, such as 'port: 5000'.")
    return _understood({str(name): value for name, value in (content or {}).items()}, fields, path)


def _understood(content: dict[str, Any], fields: Collection[str], path: Path) -> SettingsFile:
    where = f" (in {path})"
    if not earlier_form.is_earlier(content):
        known = (
            *fields,
            *earlier_form.SECTIONS,
        )  # a file may consist of one section, written wrongly
        return SettingsFile(content, tuple(unknown_keys(content, known, where)))
    found = tuple(earlier_form.translate(content))
    return SettingsFile(
        values={setting: value for setting, _, value in found},
        faults=tuple(earlier_form.faults(content, fields, where)),
        keys={setting: key + where for setting, key, _ in found},
    )
