"""Holds our JSON against the types of the openai package: strictly, every field there, none invented."""

from __future__ import annotations

from typing import Literal

from openai.pagination import SyncCursorPage, SyncPage
from openai.types import Batch, FileDeleted, FileObject, Model, Upload
from openai.types.uploads import UploadPart
from openai.types.webhooks import (
    DeletedWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointTestResult,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
)
from pydantic import BaseModel


class BatchDeleted(FileDeleted):
    """OpenAI deletes no batches: the answer to an extension, in the form of a deleted file's."""

    object: Literal["batch"]


TYPES = {
    "file": FileObject,
    "batch": Batch,
    "upload": Upload,
    "upload.part": UploadPart,
    "model": Model,
    "webhook_endpoint": WebhookEndpoint,
    "webhook_endpoint.test": WebhookEndpointTestResult,
    "webhook_endpoint.deleted": DeletedWebhookEndpoint,
}
LIST_FIELDS = {"object", "first_id", "last_id"}
"""Fields of OpenAI's lists (openapi.yaml) that the SDK's pages leave out."""
EXTENSIONS = {Batch: {"paused_at"}}
"""The fields that batchline adds to OpenAI's, all of them documented."""
OF_ONE = {
    "batch_id",
    "progress",
    "estimate",
    "throughput_tokens_per_sec",
    "total_tokens",
    "results_url",
}
"""More of these, in answers about one batch, unless they are turned off."""
AT_TIMES = {Batch: {"on_failures", "failing", "callback_url", "open"} | OF_ONE}
"""More of these, there only where they apply."""


def parse_strictly(body: bytes, told: dict, *, paged=True):
    """Parse an answer as its own SDK type, strictly, and check its fields; `told` is the decoded body.

    A list of models is not paged: OpenAI gives it whole.
    """
    parsed = type_of(told, paged=paged).model_validate_json(body, strict=True)
    check_fields(parsed, type(parsed).__name__)
    return parsed


def type_of(told, *, paged):
    if "signing_secret" in told:
        return WebhookEndpointWithSecret
    if told.get("deleted") and told["object"] in ("file", "batch"):
        return BatchDeleted if told["object"] == "batch" else FileDeleted
    if told["object"] != "list":
        return TYPES[told["object"]]
    if not paged:
        return SyncPage[Model]
    if "has_more" not in told and told["data"][:1] == ["batch.completed"]:
        return WebhookEventTypeList
    kinds = {thing["object"] for thing in told["data"]} or {"file"}
    (kind,) = kinds
    return SyncCursorPage[TYPES[kind]]


def check_fields(parsed, where):
    """Every field of the type is in the answer, and no other but the documented extensions."""
    cls = type(parsed)
    allowed = EXTENSIONS.get(cls, set())
    if issubclass(cls, SyncCursorPage | SyncPage):
        allowed = LIST_FIELDS
    assert set(cls.model_fields) - parsed.model_fields_set == set(), where
    extra = set(parsed.model_extra or {}) - AT_TIMES.get(cls, set())
    assert extra - allowed == set(), where
    if cls in EXTENSIONS:
        assert extra == allowed, where
    for name in cls.model_fields:
        for inner in _models(getattr(parsed, name)):
            check_fields(inner, f"{where}.{name}")


def _models(value):
    if isinstance(value, BaseModel):
        return [value]
    if isinstance(value, list):
        return [inner for inner in value if isinstance(inner, BaseModel)]
    return []
