"""Whether a form asks a model server for what no request may: the rules for JSON bodies, for its fields."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing

from batchline.errors import Invalid
from batchline.jsonl.body_rules import LONGEST_VALUE, BodyRules

from .content_disposition import read_disposition
from .parts import parts_of


async def refuse_ruled_fields(form: AsyncIterable[bytes], boundary: str, rules: BodyRules) -> None:
    """Read a whole form. Raises Invalid: it is broken, or a field breaks a rule."""
    names = frozenset(rules.names)
    async with aclosing(parts_of(form, boundary)) as parts:
        async for part in parts:
            given = read_disposition(part.headers.get("content-disposition", ""))
            name = given.get("name", "").removesuffix("[]")
            if name not in names:
                continue
            fault = rules.fault(name, await _beginning(part.content), param=name)
            if fault is not None:
                raise Invalid(fault.message, param=fault.param, code=fault.code)


async def _beginning(content: AsyncIterator[bytes]) -> bytes:
    """Read as much of a field as decides whether it is above a bound."""
    value = b""
    async for chunk in content:
        value += chunk[: LONGEST_VALUE + 1 - len(value)]
        if len(value) > LONGEST_VALUE:
            break
    return value
