"""What a request may not ask of an engine: fields that are refused, and highest values of others. Pure.

An engine does what a request says: one field makes it keep 16,384 sequences for a line, others make it run a
template or open tensors that the client sent. Admission applies these rules to the lines of batches, the
gateway to interactive requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap

import msgspec

from batchline.api.parameters import shown
from batchline.model import Fault

REFUSED_BY_DEFAULT = (
    "chat_template",  # a program that the server would run for the client
    "ec_transfer_params",
    "kv_transfer_params",  # names hosts to fetch from, and memory to keep
    "logits_processors",  # names code to import
    "media_io_kwargs",
    "mm_processor_kwargs",  # how much an image is blown up
    "prompt_embeds",  # tensors, opened by the engine
)
HIGHEST_BY_DEFAULT = (("best_of", 128), ("n", 128))  # OpenAI's bound of n
NEEDED = frozenset({"model", "messages", "prompt", "input", "stream"})
"""Fields that no rule may name."""
LONGEST_VALUE = 512  # bytes; a longer number is over every bound
_NULL = b"null"


@dataclass(frozen=True, slots=True)
class BodyRules:
    """The rules of one server; both parts may be empty. They apply to fields of the body itself only."""

    refused: tuple[str, ...] = ()
    highest: tuple[tuple[str, int], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that have a rule, sorted."""
        return tuple(sorted({*self.refused, *(name for name, _ in self.highest)}))

    def faults(self, body: bytes | mmap | msgspec.Raw, *, prefix: str = "") -> Iterator[Fault]:
        """Yield the faults of a body, sorted by field; `prefix` comes before the names in `param`.

        Raises msgspec.DecodeError, RecursionError: the body is no JSON object.
        """
        names = self.names
        found = _decoder(names).decode(body)
        for name, attribute in zip(names, found.__struct_fields__, strict=True):
            raw = getattr(found, attribute)
            if raw is msgspec.UNSET:
                continue
            value = memoryview(raw)[: LONGEST_VALUE + 1].tobytes()
            if fault := self.fault(name, value, param=prefix + name):
                yield fault

    def fault(self, name: str, value: bytes, *, param: str) -> Fault | None:
        """Say what is wrong with a field that has a rule, or None; `value`: its JSON, or a form's text."""
        if value == _NULL:
            return None
        if name in self.refused:
            message = (
                f"Unsupported parameter: '{name}'. This server refuses it (BATCHLINE_REFUSED_FIELDS). "
                "Leave it out, or ask the operator to allow it."
            )
            return Fault("unsupported_parameter", message, None, param)
        highest = dict(self.highest)[name]
        if not _is_above(value, highest):
            return None
        message = (
            f"Invalid '{name}': integer above maximum value. Expected a value <= {highest}, but got "
            f"{shown(value.decode('utf-8', 'replace'))} instead (BATCHLINE_HIGHEST_VALUES)."
        )
        return Fault("integer_above_max_value", message, None, param)


NO_RULES = BodyRules()


@lru_cache(maxsize=4)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """Make a decoder that keeps these fields and skips all others."""
    kept = [
        (
            f"field_{number}",
            msgspec.Raw | msgspec.UnsetType,
            msgspec.field(default=msgspec.UNSET, name=name),
        )
        for number, name in enumerate(names)
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Kept", kept))


def _is_above(value: bytes, highest: int) -> bool:
    """Whether a server may read this as a higher number; texts count too, since Pydantic reads them."""
    if len(value) > LONGEST_VALUE:
        return True
    try:
        given = json.loads(value)
        number = float(given) if isinstance(given, str) else given
    except ValueError:
        return False
    return isinstance(number, int | float) and number > highest
