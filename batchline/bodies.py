"""What clients send to create files and batches: decoded and checked with OpenAI's codes and messages.

Pure; raises Invalid. The wording of each kind of fault is in `parameters.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import parameters
from .errors import Invalid
from .settings import ENDPOINTS

INPUT_PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
"""Purposes that clients may upload, in the order OpenAI's message lists them."""

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARACTERS = 64
MAX_METADATA_VALUE_CHARACTERS = 512
MIN_EXPIRY_S = 3600
MAX_EXPIRY_S = 30 * 86400
_UNIT_S = {"h": 3600, "d": 86400}
_MAX_WINDOW_S = 14 * 86400
_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The checked body of `POST /v1/batches`."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_s: int
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None


def read_batch_request(body: bytes) -> BatchRequest:
    """Decode and check the body of `POST /v1/batches`. Unknown fields are ignored. Raises Invalid."""
    fields = parameters.json_object(body)
    window = parameters.string(
        parameters.required(fields, "completion_window"), param="completion_window"
    )
    return BatchRequest(
        input_file_id=parameters.string(
            parameters.required(fields, "input_file_id"), param="input_file_id"
        ),
        endpoint=parameters.choice(
            parameters.required(fields, "endpoint"), ENDPOINTS, param="endpoint"
        ),
        completion_window=window,
        window_s=window_seconds(window),
        metadata=_metadata(fields.get("metadata")),
        output_expires_after_s=_expiry(fields.get("output_expires_after")),
    )


def window_seconds(window: str) -> int:
    """Read a completion window: `24h`, or any whole hours or days from 1 h to 14 d."""
    found = _WINDOW.fullmatch(window)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= _MAX_WINDOW_S:
        raise Invalid(
            f"Invalid value: '{parameters.shown(window)}'. Supported values are: '24h', or any whole number of "
            "hours or days from '1h' to '14d'.",
            param="completion_window",
            code="invalid_value",
        )
    return seconds


def _metadata(value: parameters.Json) -> Mapping[str, str] | None:
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


def _expiry(value: parameters.Json) -> int | None:
    if value is None:
        return None
    param = "output_expires_after"
    fields = parameters.mapping(value, param=param)
    anchor = parameters.required(fields, "anchor", param=f"{param}.anchor")
    parameters.choice(anchor, ("created_at",), param=f"{param}.anchor")
    return parameters.integer(
        parameters.required(fields, "seconds", param=f"{param}.seconds"),
        param=f"{param}.seconds",
        lowest=MIN_EXPIRY_S,
        highest=MAX_EXPIRY_S,
    )


@dataclass(frozen=True, slots=True)
class FileForm:
    """The checked text fields of `POST /v1/files`. `expires_after_s` is None where not given."""

    purpose: str
    expires_after_s: int | None


def read_file_form(fields: Mapping[str, str]) -> FileForm:
    """Check the text fields of `POST /v1/files`. Raises Invalid."""
    purpose = parameters.required(fields, "purpose")
    if purpose not in INPUT_PURPOSES:
        raise Invalid(
            f"'{parameters.shown(purpose)}' is not one of {list(INPUT_PURPOSES)} - 'purpose'",
            param="purpose",
        )
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
