"""The table of docs/settings.md, made of the fields of `Settings`."""

from __future__ import annotations

from typing import Any

from batchline.settings import Settings

from .fleet_settings import FleetSettings
from .synchronous_settings import SynchronousSettings
from .unknown_names import PREFIX


def settings_table() -> str:
    """Render the Markdown table of docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    fields = Settings.model_fields
    last = SynchronousSettings.model_fields | FleetSettings.model_fields
    for name, field in ({name: fields[name] for name in fields if name not in last} | last).items():
        shown = "unset" if field.default in (None, ()) else f"`{_written(field.default)}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"


def _written(value: Any) -> str:
    """Return a default as a variable would hold it."""
    if not isinstance(value, tuple):
        return str(value)
    return ",".join(f"{part[0]}={part[1]}" if isinstance(part, tuple) else part for part in value)
