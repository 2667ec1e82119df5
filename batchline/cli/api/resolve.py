"""Finds the batch that a person names: by full id, unique prefix, metadata name, or @last."""

from __future__ import annotations

import re
from itertools import islice

from batchline.cli.failure import Failure
from batchline.cli.render import clean, status_words

from .batch import ApiBatch
from .client import Client

LAST = "@last"

_FULL_ID = re.compile(r"batch_[0-9a-f]{32}")
_SEARCHED = 5000  # batches looked at, newest first: fifty requests at most
_LISTED = 5


def resolve(client: Client, reference: str) -> ApiBatch:
    """Return the one batch that `reference` means. Raises Failure if it is none or several."""
    if reference == LAST:
        newest = next(client.batches(), None)
        if newest is None:
            raise Failure("There is no batch yet.", remedy="batchline submit FILE.jsonl")
        return newest
    if _FULL_ID.fullmatch(reference):
        return client.batch(reference)
    known = list(islice(client.batches(), _SEARCHED))
    return _only(reference, matches(known, reference))


def matches(known: list[ApiBatch], reference: str) -> list[ApiBatch]:
    """Return the batches with that name; only if there is none, those whose id starts with it."""
    named = [b for b in known if b.name == reference]
    prefix = reference.removeprefix("batch_")
    return named or [b for b in known if prefix and b.id.removeprefix("batch_").startswith(prefix)]


def _only(reference: str, found: list[ApiBatch]) -> ApiBatch:
    shown = repr(clean(reference, limit=80))
    if not found:
        raise Failure(f"No batch has the id or name {shown}.", remedy="batchline ls --all")
    if len(found) > 1:
        rows = [f"{b.id}  {clean(b.name, limit=40)}  {status_words(b)}" for b in found]
        more = [f"and {len(rows) - _LISTED} more"] if len(rows) > _LISTED else []
        raise Failure(
            f"{len(found)} batches match {shown}.",
            why="\n".join(rows[:_LISTED] + more),
            remedy="give one of these ids, or more of it",
        )
    return found[0]
