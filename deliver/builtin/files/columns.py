"""The columns of Parquet and CSV files, and which of them a file has. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from .rows import EMBEDDINGS, Row


class Kind(Enum):
    """What a column holds. Any cell may be empty."""

    TEXT = auto()
    NUMBER = auto()
    VECTOR = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, and how it is filled."""

    name: str
    kind: Kind
    of: Callable[[Row], Any]


_COLUMNS = (
    Column("custom_id", Kind.TEXT, lambda row: row.result.custom_id),
    Column("index", Kind.NUMBER, lambda row: row.result.index),
    Column("part", Kind.NUMBER, lambda row: row.part),
    Column("prompt", Kind.TEXT, lambda row: row.prompt),
    Column("answer", Kind.TEXT, lambda row: row.result.text),
    Column("embedding", Kind.VECTOR, lambda row: row.vector),
    Column("finish_reason", Kind.TEXT, lambda row: row.finish_reason),
    Column("model", Kind.TEXT, lambda row: row.model),
    Column("status_code", Kind.NUMBER, lambda row: row.result.status_code),
    Column("error_code", Kind.TEXT, lambda row: row.error_code),
    Column("error_message", Kind.TEXT, lambda row: row.error_message),
    Column("input_tokens", Kind.NUMBER, lambda row: row.input_tokens),
    Column("output_tokens", Kind.NUMBER, lambda row: row.output_tokens),
    Column("request", Kind.TEXT, lambda row: row.request),
    Column("response", Kind.TEXT, lambda row: row.response),
)
_KNOWN = {column.name: column for column in _COLUMNS}
_OF_EMBEDDINGS = {"part", "embedding"}
_NOT_OF_EMBEDDINGS = {"answer", "finish_reason", "output_tokens", "response"}
"""Left out unless asked for: the response would be the vectors again, as text."""


def check_columns(wanted: Sequence[str], asked: Mapping[str, str]) -> None:
    """Raise ValueError for a column that is not known, or has a name that another has."""
    if unknown := [name for name in wanted if name not in _KNOWN]:
        raise ValueError(f"'columns' has no column {unknown[0]!r}; there are: {', '.join(_KNOWN)}")
    if len({*wanted}) < len(wanted):
        raise ValueError("'columns' names one twice")
    if taken := [name for name in asked if name in _KNOWN or not name]:
        raise ValueError(
            f"'input_columns' cannot have the name {taken[0]!r}: another column has it"
        )
    if empty := [name for name, path in asked.items() if not all(path.split("."))]:
        raise ValueError(
            f"'input_columns' must say where in a request's body {empty[0]!r} stands, such as "
            f"metadata.label, not {asked[empty[0]]!r}"
        )


def columns_of(
    wanted: Sequence[str], asked: Mapping[str, str], *, endpoint: str
) -> Sequence[Column]:
    """Return the columns of a file, in order: `wanted`, or what fits the endpoint, and `asked` for."""
    left_out = _NOT_OF_EMBEDDINGS if endpoint == EMBEDDINGS else _OF_EMBEDDINGS
    usual = [name for name in _KNOWN if name not in left_out]
    return [*(_KNOWN[name] for name in wanted or usual), *(_asked(*one) for one in asked.items())]


def _asked(name: str, path: str) -> Column:
    steps = path.split(".")
    return Column(name, Kind.TEXT, lambda row: row.asked(steps))
