"""The files that settings are read from: a YAML mapping, and `.env`. Which, `batchline.settings` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from batchline.errors import Invalid

from .unknown_names import CONFIG_VARIABLE, DOTENV

ENCODING = "utf-8-sig"  # editors on Windows write a byte order mark


def yaml_content(path: Path | None) -> dict[str, Any]:
    """Return the mapping in a YAML file; empty without a file. Raises Invalid: it cannot be read."""
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(ENCODING)) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise Invalid(f"{CONFIG_VARIABLE} names {path}, which cannot be read: {exc}") from exc
    if not isinstance(content, dict):
        raise Invalid(f"{path} must hold a mapping of settings, such as 'port: 5000'.")
    return {str(name): value for name, value in content.items()}


def dotenv_text() -> str:
    """Return what `.env` holds; empty without one. Raises Invalid: it cannot be read."""
    path = Path(DOTENV)
    try:
        return path.read_text(ENCODING) if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"{path.absolute()} cannot be read: {exc}") from exc
