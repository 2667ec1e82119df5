"""What clients send to create files and batches: decoded and checked with OpenAI's codes and messages.

Pure; raises Invalid. `parameters.py` words each kind of fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from batchline.errors import Invalid
from batchline.states import OnFailures

from . import callback, parameters
from .appends import Appends
from .completion_window import window_seconds
from .endpoints import DEFAULT_ENDPOINT, ENDPOINTS
from .expires_after import MAX_EXPIRY_S, MIN_EXPIRY_S, expiry

INPUT_PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
"""Purposes that clients may upload, in the order OpenAI's message lists them."""

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARACTERS = 64
MAX_METADATA_VALUE_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The checked body of `POST /v1/batches`."""

    input_file_id: str | None
    """None: the batch comes with its requests, or they are added later."""
    endpoint: str
    completion_window: str
    window_s: int
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None
    on_failures: OnFailures | None
    """None: the setting `on_failures` applies."""
    callback_url: str | None
    appends: Appends | None
    """Its requests are added later; None: it has them already."""


DEFAULT_WINDOW = "24h"
"""Of a batch that comes with its requests, or gets them later, if it does not say one."""


def read_batch_request(
    fields: parameters.JsonObject,
    *,
    min_window_s: int,
    callbacks: callback.Callbacks,
    has_requests: bool = False,
) -> BatchRequest:
    """Check the fields of `POST /v1/batches`. Unknown ones are ignored. Raises Invalid.

    `has_requests`: they came with it, so that it names no file.
    """
    appends = _appends(fields, has_requests=has_requests)
    if appends is not None:
        fields = {"endpoint": DEFAULT_ENDPOINT, "completion_window": DEFAULT_WINDOW} | fields
    elif has_requests:
        fields = {"completion_window": DEFAULT_WINDOW} | fields
        _check_inline(fields)
    elif fields.get("requests") is not None:
        raise parameters.wrong_type("requests", "an array", fields["requests"])
    window = parameters.string(
        parameters.required(fields, "completion_window"), param="completion_window"
    )
    pairs = metadata(fields.get("metadata"))
    return BatchRequest(
        input_file_id=None
        if has_requests or appends is not None
        else parameters.string(parameters.required(fields, "input_file_id"), param="input_file_id"),
        endpoint=parameters.choice(
            parameters.required(fields, "endpoint"), ENDPOINTS, param="endpoint"
        ),
        completion_window=window,
        window_s=window_seconds(window, lowest_s=min_window_s),
        metadata=pairs,
        output_expires_after_s=expiry(
            fields.get("output_expires_after"), param="output_expires_after"
        ),
        on_failures=_on_failures(fields.get("on_failures")),
        callback_url=callback.callback_url(fields.get(callback.FIELD), pairs, callbacks),
        appends=appends,
    )


def _appends(fields: parameters.JsonObject, *, has_requests: bool) -> Appends | None:
    """Read `open`: whether the batch takes requests later, and then has none yet. Raises Invalid."""
    if fields.get("open") is None or not parameters.boolean(fields["open"], param="open"):
        return None
    if (
        has_requests
        or fields.get("requests") is not None
        or fields.get("input_file_id") is not None
    ):
        raise Invalid(
            "An open batch gets its requests by POST /v1/batches/{batch_id}/requests, and here some "
            "come with it. Leave them out, or leave 'open' out.",
            param="open",
            code="invalid_value",
        )
    return Appends(default_model=_model(fields))


def _check_inline(fields: parameters.JsonObject) -> None:
    if fields.get("input_file_id") is not None:
        raise Invalid(
            "A batch runs over the file 'input_file_id' or over requests that come with it, and here "
            "are both. Leave one of them out.",
            param="input_file_id",
            code="invalid_value",
        )
    _model(fields)


def _model(fields: parameters.JsonObject) -> str | None:
    """Read the model of requests that name none. Raises Invalid."""
    if fields.get("model") is None:
        return None
    model = parameters.string(fields["model"], param="model")
    parameters.filled(model, param="model")
    return model


def batch_form_fields(texts: Mapping[str, str]) -> parameters.JsonObject:
    """Return the text fields of a form as the JSON body of the same create has them. Raises Invalid."""
    fields: parameters.JsonObject = dict(texts)
    if texts.get("metadata"):
        fields["metadata"] = _json_text(texts["metadata"], param="metadata")
    else:
        fields.pop("metadata", None)
    anchor, seconds = "output_expires_after[anchor]", "output_expires_after[seconds]"
    if anchor in texts or seconds in texts:
        fields["output_expires_after"] = {
            "anchor": parameters.required(texts, anchor),
            "seconds": parameters.integer_text(
                parameters.required(texts, seconds),
                param=seconds,
                lowest=MIN_EXPIRY_S,
                highest=MAX_EXPIRY_S,
            ),
        }
    return fields


def _json_text(text: str, *, param: str) -> parameters.Json:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise Invalid(
            f'Invalid \'{param}\': it must be a JSON object, as {{"name": "tonight"}}, but it is not '
            f"JSON: {exc}.",
            param=param,
            code="invalid_type",
        ) from exc


def _on_failures(value: parameters.Json) -> OnFailures | None:
    if value is None:
        return None
    options = [choice.value for choice in OnFailures]
    return OnFailures(parameters.choice(value, options, param="on_failures"))


def metadata(value: parameters.Json) -> Mapping[str, str] | None:
    """Check the metadata of a batch. Raises Invalid."""
    if value is None:
        return None
    pairs = parameters.mapping(value, param="metadata")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise Invalid(
            "Invalid 'metadata': too many properties. Expected an object with at most "
            f"{MAX_METADATA_PAIRS} properties, but got an object with {len(pairs)} properties "
            "instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, text in pairs.items():
        _check_metadata_key(key)
        parameters.short_string(
            text, param=f"metadata.{key}", longest=MAX_METADATA_VALUE_CHARACTERS
        )
    return pairs


def _check_metadata_key(key: str) -> None:
    if len(key) > MAX_METADATA_KEY_CHARACTERS:
        raise Invalid(
            f"Invalid property name in 'metadata': '{key[:MAX_METADATA_KEY_CHARACTERS]}…' is too "
            f"long. Expected a string with maximum length {MAX_METADATA_KEY_CHARACTERS}, but got a "
            f"string with length {len(key)} instead.",
            param="metadata",
            code="property_name_above_max_length",
        )


def input_purpose(value: parameters.Json) -> str:
    """Return the purpose if clients may upload for it. Raises Invalid."""
    purpose = parameters.string(value, param="purpose")
    if purpose not in INPUT_PURPOSES:
        raise Invalid(
            f"'{parameters.shown(purpose)}' is not one of {list(INPUT_PURPOSES)} - 'purpose'",
            param="purpose",
        )
    return purpose


@dataclass(frozen=True, slots=True)
class FileForm:
    """The checked text fields of `POST /v1/files`. `expires_after_s` is None where not given."""

    purpose: str
    expires_after_s: int | None


def read_file_form(fields: Mapping[str, str]) -> FileForm:
    """Check the text fields of `POST /v1/files`. Raises Invalid."""
    purpose = input_purpose(parameters.required(fields, "purpose"))
    anchor, seconds = "expires_after[anchor]", "expires_after[seconds]"
    if anchor not in fields and seconds not in fields:
        return FileForm(purpose, None)
    parameters.choice(parameters.required(fields, anchor), ("created_at",), param=anchor)
    return FileForm(
        purpose,
        parameters.integer_text(
            parameters.required(fields, seconds),
            param=seconds,
            lowest=MIN_EXPIRY_S,
            highest=MAX_EXPIRY_S,
        ),
    )
