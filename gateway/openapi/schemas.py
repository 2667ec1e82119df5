"""The schemas of the document: shapes from `batchline.api.objects`, bounds from the code that enforces them.

Nothing is written twice: a new field of a shape, endpoint or limit is in the document at once, and a test
demands its sentence in schemas.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from batchline.api import bodies, endpoint_requests, expires_after
from batchline.api.endpoints import ENDPOINTS
from batchline.api.objects import batch, batch_extensions, error, file, lists, model, webhook
from batchline.api.upload_rules import UploadStatus
from batchline.settings import Settings
from batchline.states import BatchStatus
from batchline.webhooks.addresses import LONGEST_URL
from batchline.webhooks.records import Ask, DeliveryState
from gateway.dialects.anthropic import errors as anthropic
from gateway.dialects.anthropic import objects as messages

from ..paging import BATCHES, FILES, MESSAGE_BATCHES, WEBHOOKS, Bounds  # noqa: TID252 - a package within the leaf

Schema = dict[str, Any]

SHAPES = (
    file.FileObject,
    file.UploadObject,
    file.PartObject,
    batch.BatchObject,
    batch_extensions.ExtendedBatchObject,
    model.ModelObject,
    model.ModelList,
    webhook.WebhookEndpointObject,
    webhook.WebhookTestObject,
    webhook.WebhookEventTypeList,
    webhook.DeliveryObject,
    lists.DeletedObject,
    error.ErrorAnswer,
    anthropic.AnthropicError,
    messages.MessageBatchPage,
    messages.DeletedMessageBatch,
    lists.ListObject,
)
_HOUR_S = 3600
_REF = "#/components/schemas/{name}"


def component_schemas(written: Mapping[str, Any], settings: Settings) -> dict[str, Schema]:
    """Return all schemas by name; `written` is the content of schemas.yaml."""
    _, derived = msgspec.json.schema_components(SHAPES, ref_template=_REF)
    shapes = {name: _always_present(shape) for name, shape in derived.items()}
    shapes["FileObject"]["properties"]["purpose"] = reference("Purpose")
    shapes["UploadObject"]["properties"] |= {
        "purpose": reference("InputPurpose"),
        "status": reference("UploadStatus"),
    }
    for name in ("BatchObject", "ExtendedBatchObject"):
        shapes[name]["properties"] |= {
            "status": reference("BatchStatus"),
            "endpoint": reference("Endpoint"),
            "metadata": reference("Metadata"),
        }
    # The extensions are there unless somebody turned them off.
    shapes["ExtendedBatchObject"]["required"] = shapes["BatchObject"]["required"]
    shapes["EventSummary"]["properties"]["type"] = reference("EventType")
    shapes["DeliveryObject"]["properties"] |= {
        "asked_by": reference("Ask"),
        "state": reference("DeliveryState"),
    }
    for name, sentences in written["fields"].items():
        for field, sentence in sentences.items():
            shapes[name]["properties"][field]["description"] = sentence
    page = shapes.pop("ListObject")
    pages = {
        "FileList": "FileObject",
        "BatchList": "BatchObject",
        "WebhookEndpointList": "WebhookEndpointObject",
        "DeliveryList": "DeliveryObject",
    }
    schemas = (
        shapes
        | {name: _page_of(of, page) for name, of in pages.items()}
        | _values()
        | _webhook_values()
        | _bounded(settings)
        | written["shapes"]
    )
    schemas["BatchStatus"]["x-enumDescriptions"] = {
        status.value: written["statuses"][status] for status in BatchStatus
    }
    for name, example in written["examples"].items():
        schemas[name]["example"] = example
    return dict(sorted(schemas.items()))


def component_parameters() -> dict[str, Schema]:
    """Return the parameters whose bounds the code decides."""
    return {
        "FilesLimit": _limit(FILES),
        "BatchesLimit": _limit(BATCHES),
        "MessageBatchesLimit": _limit(MESSAGE_BATCHES),
        "WebhooksLimit": _limit(WEBHOOKS),
    }


def reference(name: str) -> Schema:
    """Point to a schema by its name."""
    return {"$ref": _REF.format(name=name)}


def _always_present(shape: Schema) -> Schema:
    """Turn msgspec's schema of what may be read into one of what is sent: every field, always.

    Fields that a shape may leave out are not required, and have no default.
    """
    given = shape["properties"]
    always = [name for name in given if name in shape["required"] or "default" in given[name]]
    fields = {name: _sent(field) for name, field in given.items()}
    return shape | {"properties": fields, "required": always}


def _sent(field: Schema) -> Schema:
    sent = {key: value for key, value in field.items() if key != "default"}
    match sent:
        case {"enum": [only]}:
            return {"const": only}
        case {"anyOf": [{"type": kind, **rest}, {"type": "null"}]} if not rest:
            return {"type": [kind, "null"]}
        case _:
            return sent


def _page_of(name: str, page: Schema) -> Schema:
    data = page["properties"]["data"] | {"type": "array", "items": reference(name)}
    return page | {"title": f"A page of {name}s", "properties": page["properties"] | {"data": data}}


def _limit(bounds: Bounds) -> Schema:
    return {
        "name": "limit",
        "in": "query",
        "description": "How many to return at most.",
        "schema": {
            "type": "integer",
            "minimum": bounds.lowest,
            "maximum": bounds.highest,
            "default": bounds.default,
        },
    }


def _bounded(settings: Settings) -> dict[str, Schema]:
    """Describe values whose bounds are settings."""
    units = "smhd" if settings.min_completion_window_s < _HOUR_S else "hd"
    return {
        "CompletionWindow": {
            "type": "string",
            "pattern": f"^[1-9][0-9]{{0,6}}[{units}]$",
            "description": "Time for the whole batch: `24h`, or any whole hours (`h`) or days (`d`) "
            f"from {settings.min_completion_window_s:,} seconds to 14 days.",
        },
        "SyncCall": {
            "type": "object",
            "required": ["requests"],
            "properties": {
                "requests": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": settings.sync_max_requests,
                    "items": reference("SyncRequest"),
                    "description": "What to ask; each is answered by itself.",
                }
            },
        },
        "UploadBytes": {
            "type": "integer",
            "minimum": 0,
            "maximum": settings.max_upload_bytes,
            "description": "The size of the whole file.",
        },
    }


def _values() -> dict[str, Schema]:
    """Describe values that several shapes share."""
    return {
        "BatchStatus": {"type": "string", "enum": [status.value for status in BatchStatus]},
        "UploadStatus": {"type": "string", "enum": [status.value for status in UploadStatus]},
        "Endpoint": {
            "type": "string",
            "enum": list(ENDPOINTS),
            "description": "Where the lines are sent: the same for the whole batch.",
        },
        "InputPurpose": {
            "type": "string",
            "enum": list(bodies.INPUT_PURPOSES),
            "description": "What the file is for: `batch` for the input of a batch.",
        },
        "Purpose": {"type": "string", "enum": [*bodies.INPUT_PURPOSES, "batch_output"]},
        "Metadata": {
            "type": ["object", "null"],
            "description": "Your own names for the batch.",
            "maxProperties": bodies.MAX_METADATA_PAIRS,
            "propertyNames": {"maxLength": bodies.MAX_METADATA_KEY_CHARACTERS},
            "additionalProperties": {
                "type": "string",
                "maxLength": bodies.MAX_METADATA_VALUE_CHARACTERS,
            },
        },
        "ExpirySeconds": {
            "type": "integer",
            "minimum": expires_after.MIN_EXPIRY_S,
            "maximum": expires_after.MAX_EXPIRY_S,
            "description": "Age in seconds at which the file is deleted.",
        },
        "Expiry": {
            "type": ["object", "null"],
            "description": "When the file expires.",
            "required": ["anchor", "seconds"],
            "properties": {
                "anchor": {"const": "created_at", "description": "What `seconds` counts from."},
                "seconds": reference("ExpirySeconds"),
            },
        },
    }


def _webhook_values() -> dict[str, Schema]:
    """Describe what endpoints and deliveries share."""
    kinds = list(endpoint_requests.EVENT_TYPES)
    return {
        "EventType": {"type": "string", "enum": kinds, "description": "How a batch ended."},
        "EventTypes": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": reference("EventType"),
            "description": "All types that shall be told.",
        },
        "EndpointName": {
            "type": "string",
            "minLength": 1,
            "maxLength": endpoint_requests.LONGEST_NAME_CHARACTERS,
            "description": "Your own name for it.",
        },
        "ReceiverUrl": {
            "type": "string",
            "maxLength": LONGEST_URL,
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$",
            "description": "Where it is told: a public address over HTTPS, or a network that the operator "
            "named in `BATCHLINE_WEBHOOK_NETWORKS`, there also over HTTP.",
        },
        "Ask": {
            "type": "string",
            "enum": [ask.value for ask in Ask],
            "description": "Who asked for it: an endpoint, the batch by its `callback_url`, or the operator "
            "by a setting.",
        },
        "DeliveryState": {
            "type": "string",
            "enum": [state.value for state in DeliveryState],
            "description": "Where it stands; after 72 hours of failures it is given up.",
        },
    }
