"""What a section of the handlers' file may say to this handler. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_SHORTEST_TITLE = 3  # Label Studio refuses shorter ones


class LabelStudioSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Label Studio, a project of it, and what becomes of answers there."""

    url: str
    token: str
    """A legacy token, or a personal access token: that one has two dots."""
    project: int | None = None
    """Its id; without it, the project of this title is taken, or made with this label config."""
    title: str | None = None
    label_config: str | None = None
    from_name: str | None = None
    """The control that takes the answer; without it, the only one that can."""
    to_name: str | None = None
    prediction: bool = True
    model_version: str | None = None
    include_failed: bool = False
    """Whether lines without an answer become tasks, too."""


def is_off(given: Mapping[str, Any]) -> bool:
    """Whether the operator turned the handler off: its token is there, and empty."""
    return given.get("token") == ""


def read_settings(given: Mapping[str, Any]) -> LabelStudioSettings:
    """Read a section; what is empty counts as left out. Raises ValueError."""
    filled = {key: value for key, value in given.items() if value not in {"", None}}
    try:
        settings = msgspec.convert(filled, LabelStudioSettings, strict=False)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    if not settings.url.startswith(("http://", "https://")):
        raise ValueError("'url' must be like http://localhost:8080")
    if (settings.project is None) == (settings.title is None):
        raise ValueError("it needs either 'project', the id of a project, or 'title'")
    if settings.title is not None and len(settings.title) < _SHORTEST_TITLE:
        raise ValueError(f"'title' needs {_SHORTEST_TITLE} characters or more")
    if settings.label_config is not None and settings.title is None:
        raise ValueError("'label_config' is for a project that is made: it needs 'title'")
    return settings
