"""Checks of what clients send, with OpenAI's error codes and messages. Pure; raises Invalid.

Owns the wording only; the callers (`bodies.py`, `gateway/paging.py`) say which fields exist and which values
they may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from batchline.errors import Invalid

Json = Any
JsonObject = dict[str, Json]

_SHOWN_CHARACTERS = 200
_KINDS = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    dict: "an object",
    list: "an array",
}
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,30}")
_NOT_JSON = (
    "We could not parse the JSON body of your request. "
    "The API expects a JSON object, but what was sent was not one: {}."
)


def json_object(body: bytes) -> JsonObject:
    """Decode a request body. Raises Invalid where it is not one JSON object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise not_json(exc) from exc
    if not isinstance(value, dict):
        raise Invalid(_NOT_JSON.format(f"it is {_kind(value)}"))
    return value


def not_json(exc: Exception) -> Invalid:
    """Return the error for a body that is no JSON object, given what its decoder raised."""
    why = "it is nested too deeply" if isinstance(exc, RecursionError) else exc
    return Invalid(_NOT_JSON.format(why))


def required(fields: Mapping[str, Json], name: str, *, param: str | None = None) -> Json:
    """Return the value of a field that must be present."""
    if name not in fields:
        raise missing(param or name)
    return fields[name]


def missing(param: str) -> Invalid:
    """Say that a required parameter is absent."""
    return Invalid(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def string(value: Json, *, param: str) -> str:
    """Return the value if it is a string."""
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def strings(value: Json, *, param: str) -> list[str]:
    """Return the value if it is an array of strings."""
    if not isinstance(value, list):
        raise wrong_type(param, "an array of strings", value)
    return [string(item, param=f"{param}[{index}]") for index, item in enumerate(value)]


def mapping(value: Json, *, param: str) -> JsonObject:
    """Return the value if it is a JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def choice(value: Json, options: Sequence[str], *, param: str) -> str:
    """Return the value if it is one of the options."""
    text = string(value, param=param)
    if text not in options:
        raise Invalid(
            f"Invalid value: '{shown(text)}'. Supported values are: {listed(options)}.",
            param=param,
            code="invalid_value",
        )
    return text


def boolean(value: Json, *, param: str) -> bool:
    """Return the value if it is a boolean."""
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return value


def boolean_text(text: str, *, param: str) -> bool:
    """Read `true` or `false` from a query."""
    return choice(text, ("true", "false"), param=param) == "true"


def integer(value: Json, *, param: str, lowest: int, highest: int) -> int:
    """Return the value if it is an integer within the bounds (both allowed). JSON's 5.0 is one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(param, "an integer", value)
    if value > highest:
        raise Invalid(
            f"Invalid '{param}': integer above maximum value. "
            f"Expected a value <= {highest}, but got {shown(value)} instead.",
            param=param,
            code="integer_above_max_value",
        )
    if value < lowest:
        raise Invalid(
            f"Invalid '{param}': integer below minimum value. "
            f"Expected a value >= {lowest}, but got {shown(value)} instead.",
            param=param,
            code="integer_below_min_value",
        )
    return value


def integer_text(text: str, *, param: str, lowest: int, highest: int) -> int:
    """Read an integer from a query or form field."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise wrong_type(param, "an integer", text)
    return integer(int(text), param=param, lowest=lowest, highest=highest)


def short_string(value: Json, *, param: str, longest: int) -> str:
    """Return the value if it is a string of at most `longest` characters."""
    text = string(value, param=param)
    if len(text) > longest:
        raise Invalid(
            f"Invalid '{param}': string too long. Expected a string with maximum length "
            f"{longest}, but got a string with length {len(text)} instead.",
            param=param,
            code="string_above_max_length",
        )
    return text


def filled(value: str | list[str], *, param: str) -> None:
    """Refuse an empty string or array."""
    if not value:
        kind = _kind(value)
        word = kind.rpartition(" ")[2]
        raise Invalid(
            f"Invalid '{param}': empty {word}. Expected {kind} with minimum length 1, but got an "
            f"empty {word} instead.",
            param=param,
            code=f"empty_{word}",
        )


def wrong_type(param: str, expected: str, value: Json) -> Invalid:
    """Say that a value has the wrong JSON type; `expected` comes with its article."""
    return Invalid(
        f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def _kind(value: Json) -> str:
    return "null" if value is None else _KINDS[type(value)]


def shown(value: object) -> str:
    """Return the value for a message, cut if it is long."""
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def listed(options: Sequence[str]) -> str:
    """Name options in a sentence: `'a', 'b', and 'c'`. There is at least one."""
    quoted = [f"'{option}'" for option in options]
    match quoted:
        case [one]:
            return one
        case [one, other]:
            return f"{one} and {other}"
        case _:
            return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"
