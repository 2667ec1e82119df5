"""The query of a list: `limit`, `after`, `order`, `purpose`, `status`. Unknown parameters are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multidict import MultiMapping

from batchline.api import parameters
from batchline.states import BatchStatus


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds and the default of `limit` for one list."""

    lowest: int
    highest: int
    default: int


FILES = Bounds(lowest=1, highest=10_000, default=10_000)
BATCHES = Bounds(lowest=1, highest=100, default=20)
MESSAGE_BATCHES = Bounds(lowest=1, highest=1000, default=20)
WEBHOOKS = Bounds(lowest=1, highest=100, default=20)
"""Of endpoints and of deliveries."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The page that a client asks for."""

    after: str | None
    limit: int
    ascending: bool
    purpose: str | None


def page_query(query: Mapping[str, str], bounds: Bounds) -> PageQuery:
    """Check the query of a list. An empty `after` or `purpose` is none. Raises Invalid."""
    limit = query.get("limit")
    return PageQuery(
        after=query.get("after") or None,
        limit=bounds.default
        if limit is None
        else parameters.integer_text(
            limit, param="limit", lowest=bounds.lowest, highest=bounds.highest
        ),
        ascending=parameters.choice(query.get("order", "desc"), ("asc", "desc"), param="order")
        == "asc",
        purpose=query.get("purpose") or None,
    )


def status_query(query: MultiMapping[str]) -> frozenset[BatchStatus]:
    """Read the wanted statuses: `status` may be given several times; without it all are wanted.

    The openai clients write a list as `status[]`. Raises Invalid.
    """
    options = [status.value for status in BatchStatus]
    given = [*query.getall("status", ()), *query.getall("status[]", ())]
    return frozenset(
        BatchStatus(parameters.choice(status, options, param="status")) for status in given
    )
