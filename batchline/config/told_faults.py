"""What is told of a setting whose value cannot work: its name, what is allowed, what was given. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .server_url import without_secrets
from .types import TELLING
from .unknown_names import PREFIX

_SECRETS = frozenset({"api_key", "upstream_api_key", "webhook_secret"})


def told(error: ErrorDetails, fields: Mapping[str, FieldInfo], keys: Mapping[str, str]) -> str:
    """Say what was given, what is allowed and, if the message shows none, an example.

    `keys`: setting -> key of the earlier YAML form, where the value was given as one.
    """
    name, given = str(error["loc"][0]), error["input"]
    default = fields[name].default
    such_as = "" if error["type"] in TELLING or default in (None, ()) else f", such as {default}"
    if isinstance(given, tuple):
        given = "=".join(map(str, given))
    shown = repr(without_secrets(given) if isinstance(given, str) else given)
    if name in _SECRETS:
        shown = f"{len(str(given))} characters, which are not shown"
    return f"{keys.get(name, PREFIX + name.upper())}: {error['msg']}{such_as} (got {shown})"
