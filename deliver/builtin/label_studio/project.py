"""Which project the tasks go to, and which control of its label config takes the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batchline.handlers import GiveUp

from .client import Client, LabelStudioError
from .settings import LabelStudioSettings

_PAGE = 100
_VARIABLE = re.compile(r"""\bvalue\s*=\s*["']\$([A-Za-z_]\w*)""")
_KINDS = {"TextArea": "textarea", "Choices": "choices"}
"""The tags of a label config that can take an answer, and what predictions call them."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a label config that takes the answer. `choices`: of those, one; None: any text."""

    from_name: str
    to_name: str
    kind: str
    choices: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """Where tasks go. `control`: None if they get no prediction."""

    id: int
    control: Control | None
    variables: frozenset[str] = field(default_factory=frozenset)
    """What its label config wants of a task's data."""


async def find_project(client: Client, settings: LabelStudioSettings) -> Project:
    """Find the project, or make it. Raises LabelStudioError; GiveUp where settings and config disagree."""
    number = settings.project
    if number is None:
        number = await _of_title(client, settings)
    return read_project(await client.get(f"/api/projects/{number}/"), settings)


async def _of_title(client: Client, settings: LabelStudioSettings) -> int:
    """Return the oldest project of the title: whoever makes one beside another takes that one, too."""
    assert settings.title is not None, "settings have a project or a title"
    if found := await _ids_of_title(client, settings.title):
        return min(found)
    if settings.label_config is None:
        raise LabelStudioError(
            f"There is no project {settings.title!r}: make it, or set 'label_config'."
        )
    made = {"title": settings.title, "label_config": settings.label_config}
    await client.post("/api/projects/", msgspec.json.encode(made))
    return min(await _ids_of_title(client, settings.title))


async def _ids_of_title(client: Client, title: str) -> list[int]:
    found: list[int] = []
    page = 1
    while True:
        told = await client.get("/api/projects/", title=title, page=page, page_size=_PAGE)
        found += [one["id"] for one in told["results"] if one["title"] == title]
        if told["next"] is None:
            return found
        page += 1


def read_project(told: Mapping[str, Any], settings: LabelStudioSettings) -> Project:
    """Read what Label Studio tells of a project. Raises GiveUp."""
    variables = frozenset(_VARIABLE.findall(told.get("label_config") or ""))
    control = None
    if settings.prediction:
        control = _control(told.get("parsed_label_config") or {}, settings)
    return Project(told["id"], control, variables)


def _control(config: Mapping[str, Any], settings: LabelStudioSettings) -> Control:
    able = {name: tag for name, tag in config.items() if tag.get("type") in _KINDS}
    listed = ", ".join(sorted(able)) or "none"
    wanted = settings.from_name
    if wanted is None and len(able) != 1:
        raise GiveUp(
            "The label config of the project must have one TextArea or Choices, or 'from_name' must say "
            f"which; it has: {listed}. With 'prediction: false' none is needed."
        )
    name = next(iter(able)) if wanted is None else wanted
    if name not in able:
        raise GiveUp(
            f"The label config of the project has no TextArea or Choices {name!r}, as 'from_name' says; "
            f"it has: {listed}."
        )
    tag, to_name = able[name], settings.to_name
    objects = list(tag.get("to_name") or ())
    if to_name is not None and to_name not in objects:
        raise GiveUp(f"{name!r} of the label config is not for {to_name!r}, but for: {objects}.")
    if not objects:
        raise GiveUp(f"{name!r} of the label config is for no object: give it a toName.")
    kind = _KINDS[tag["type"]]
    choices = frozenset(tag.get("labels") or ()) if kind == "choices" else None
    return Control(name, to_name or objects[0], kind, choices)
