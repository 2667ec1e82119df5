"""The models that live backends serve, as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from batchline.model import FleetReport


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a live backend serves. `created`: when it was first served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "batchline"
    shutdown_date: None = None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models: OpenAI does not page them."""

    object: Literal["list"] = "list"
    data: Sequence[ModelObject]


def model_list(report: FleetReport | None) -> ModelList:
    """Show the models of the live backends, each with the time at which the first of these came up."""
    if report is None:
        return ModelList(data=[])
    since: dict[str, int] = {}
    for backend in report.backends:
        for model in backend.models if backend.alive else ():
            since[model] = min(backend.since, since.get(model, backend.since))
    return ModelList(data=[ModelObject(id=m, created=since[m]) for m in sorted(since)])
