"""The types of the settings: how a text becomes a value, and the messages about bad ones."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from batchline.jsonl.body_rules import NEEDED
from batchline.serving.listening import listening_host, published_host
from batchline.serving.origins import checked_host, checked_origin

from .api_keys import ALLOWED, flaw_of
from .server_url import server_url

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LONGEST_BOUND = 15  # digits
_SECRET_PREFIX = "whsec_"  # noqa: S105 - a mark
_LEAST_SECRET_BYTES, _MOST_SECRET_BYTES = 24, 64  # Standard Webhooks, Signature scheme
TELLING = frozenset({"enum", "refused"})
"""Kinds of faults whose message already shows what to write."""


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"

    @classmethod
    def _missing_(cls, value: object) -> LogLevel | None:
        name = value.strip().upper() if isinstance(value, str) else None
        return next((level for level in cls if level == name), None)


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    # A comma in a password would cut it in two, and the first half would be shown.
    is_cut = "@" in value and any("://" not in part for part in parts)
    return [value] if is_cut else parts


def _refusing(read: Callable[[str], object]) -> Callable[[Any], Any]:
    """Make the text of the ValueError that `read` raises the whole message."""

    def checked(value: Any) -> Any:
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError as exc:
            raise PydanticCustomError("refused", "{why}", {"why": str(exc)}) from exc

    return checked


def _key(value: str) -> str:
    if flaw := flaw_of(value):
        raise ValueError(
            f"{flaw}; allowed are {ALLOWED}. Leave the setting out where no key is wanted"
        )
    return value


def _secret(value: str) -> str:
    try:
        size = len(b64decode(value.removeprefix(_SECRET_PREFIX), validate=True))
    except ValueError:
        size = 0
    if (
        not value.startswith(_SECRET_PREFIX)
        or not _LEAST_SECRET_BYTES <= size <= _MOST_SECRET_BYTES
    ):
        raise ValueError(
            "is no secret of Standard Webhooks: whsec_ and the base64 of 24 to 64 bytes. Run `batchline "
            "webhooks secret` to make one"
        )
    return value


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value, strict=False)
    except ValueError as exc:
        raise ValueError(
            f"{value!r} is neither an address nor a network, such as 10.0.0.7 or 172.16.0.0/12"
        ) from exc


def _field(value: str) -> str:
    if value in NEEDED or not _FIELD.fullmatch(value):
        raise ValueError(
            f"{value!r} is no field that can be refused; write names of optional fields of a request's body, "
            "such as chat_template,prompt_embeds"
        )
    return value


def _media_host(value: str) -> str:
    below = "*." if value.startswith("*.") else ""
    return below + checked_host(value.removeprefix(below))


def _bounds(value: Any) -> Any:
    """Read `n=128,best_of=128`, or the mapping of a YAML file."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in _split(value)]
    return tuple((name.strip(), highest.strip()) for name, _, highest in pairs)


def _bound(value: Any) -> Any:
    """Check a field and its highest value."""
    name, highest = value
    number = str(highest)
    if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_BOUND):
        raise PydanticCustomError(
            "refused",
            "{why}",
            {"why": f"{name}={number} has no highest value; write it as in n=128,best_of=128"},
        )
    return _refusing(_field)(name), int(number)


def _once(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value))


Key = Annotated[str, BeforeValidator(_refusing(_key))]
Secret = Annotated[str, BeforeValidator(_refusing(_secret))]
Host = Annotated[str, BeforeValidator(_refusing(listening_host))]
Published = Annotated[str, BeforeValidator(_refusing(published_host))]
Url = Annotated[str, BeforeValidator(_refusing(server_url))]
Urls = Annotated[tuple[Url, ...], NoDecode, BeforeValidator(_split), AfterValidator(_once)]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_refusing(_network))], ...],
    NoDecode,
    BeforeValidator(_split),
]
Hosts = Annotated[
    tuple[Annotated[str, BeforeValidator(_refusing(checked_host))], ...],
    NoDecode,
    BeforeValidator(_split),
]
MediaHosts = Annotated[
    tuple[Annotated[str, BeforeValidator(_refusing(_media_host))], ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_once),
]
Origins = Annotated[
    tuple[Annotated[str, BeforeValidator(_refusing(checked_origin))], ...],
    NoDecode,
    BeforeValidator(_split),
]
Fields = Annotated[
    tuple[Annotated[str, BeforeValidator(_refusing(_field))], ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_once),
]
Bounds = Annotated[
    tuple[Annotated[tuple[str, int], BeforeValidator(_bound)], ...],
    NoDecode,
    BeforeValidator(_bounds),
]
