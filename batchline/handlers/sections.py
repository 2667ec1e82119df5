"""The handlers' file: a YAML mapping of names to what an operator sets for each handler. Pure.

reviews:                        # what deliveries call it
  handler: label-studio         # which handler; left out: the one of that name
  when:
    status: [completed]         # also expired, cancelled; left out: completed and expired
    metadata: {team: curation}  # batches that have all of these
  limits: {seconds: 3600, memory_bytes: 1073741824}
  url: http://localhost:8080    # all else is the handler's own
  token: ${LABEL_STUDIO_TOKEN}  # a variable of the environment; ${NAME:-text} where it may be unset
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from batchline.config.bounded_yaml import told

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_STATUSES = ("completed", "expired", "cancelled")
MAX_SECTIONS = 100


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which batches a handler gets."""

    status: Sequence[str] = ("completed", "expired")
    metadata: Mapping[str, str] = {}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one attempt may take."""

    seconds: float = 3600.0
    memory_bytes: int = 1 << 30
    """Of all its processes together."""


@dataclass(frozen=True, slots=True)
class Section:
    """What an operator set for one handler. `settings` are the handler's own."""

    name: str
    handler: str
    when: When = field(default_factory=When)
    limits: Limits = field(default_factory=Limits)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)  # they may hold secrets


def read_sections(
    text: str, environment: Mapping[str, str]
) -> tuple[Sequence[Section], Sequence[str]]:
    """Return the sections, and in words what is wrong with the others."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        return (), [f"it is not YAML: {told(exc)}"]
    if content is None:
        return (), []
    if not isinstance(content, dict):
        return (), ["it must map names to settings, such as 'parquet: {folder: /exports}'"]
    sections, faults = [], []
    for name, given in content.items():
        try:
            sections.append(_section(str(name), given, environment))
        except (ValueError, msgspec.ValidationError) as exc:
            faults.append(f"{str(name)[:64]!r}: {exc}")
    if len(sections) > MAX_SECTIONS:
        faults.append(f"it has {len(sections)} sections; at most {MAX_SECTIONS} are allowed")
    return sections, faults


def _section(name: str, given: Any, environment: Mapping[str, str]) -> Section:
    if not is_handler_name(name):
        raise ValueError("a name has up to 64 letters, digits, dots, dashes and underscores")
    if not isinstance(given, dict | None):
        raise ValueError("its settings must be a mapping")  # noqa: TRY004 - the caller tells one kind
    settings = {str(key): _filled_in(value, environment) for key, value in (given or {}).items()}
    handler = settings.pop("handler", name)
    if not isinstance(handler, str) or not is_handler_name(handler):
        raise ValueError("'handler' must be the name of a handler")
    when = msgspec.convert(settings.pop("when", {}), When)
    limits = msgspec.convert(settings.pop("limits", {}), Limits)
    if unknown := [one for one in when.status if one not in _STATUSES]:
        raise ValueError(f"'when.status' may be {', '.join(_STATUSES)}, not {unknown[0]!r}")
    if not when.status:
        raise ValueError("'when.status' is empty, so it would get no batch")
    if not limits.seconds > 0 or limits.memory_bytes <= 0:
        raise ValueError("'limits' must be above 0")
    return Section(name, handler, when, limits, settings)


def is_handler_name(text: str) -> bool:
    """Whether a handler may be called so."""
    return _NAME.fullmatch(text) is not None


def _filled_in(value: Any, environment: Mapping[str, str]) -> Any:
    """Put variables of the environment in. Raises ValueError: one is not set."""
    if isinstance(value, dict):
        return {key: _filled_in(one, environment) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled_in(one, environment) for one in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        name, default = found.group(1), found.group(2)
        given = environment.get(name) or default
        if given is None:
            raise ValueError(f"the variable {name} is not set")
        return given

    return _VARIABLE.sub(variable, value)
