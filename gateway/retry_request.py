"""Which batches can be retried, what a client may say of it, and what the new batch gets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchline.api import bodies, parameters
from batchline.api.callback import IN_METADATA, Callbacks, callback_url
from batchline.api.completion_window import window_seconds
from batchline.errors import Conflict, Invalid
from batchline.model import Batch
from batchline.states import TERMINAL, BatchStatus

RETRY_OF = "retry_of"
_SUFFIX = "_retry"


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """The checked body of `POST /v1/batches/{id}/retry`; None: as the original has it."""

    completion_window: str | None
    window_s: int | None
    metadata: Mapping[str, str | None]


def read_retry_request(body: bytes, *, min_window_s: int) -> RetryRequest:
    """Decode and check the body; an empty one is fine. Unknown fields are ignored. Raises Invalid."""
    fields = parameters.json_object(body) if body.strip() else {}
    window, seconds = fields.get("completion_window"), None
    if window is not None:
        window = parameters.string(window, param="completion_window")
        seconds = window_seconds(window, lowest_s=min_window_s)
    given = fields.get("metadata")
    pairs = {} if given is None else parameters.mapping(given, param="metadata")
    bodies.metadata({key: text for key, text in pairs.items() if text is not None})
    return RetryRequest(window, seconds, pairs)


def refuse_what_cannot_be(batch: Batch) -> None:
    """Refuse a batch of which nothing can be retried. Raises Conflict."""
    status = batch.status
    if status not in TERMINAL:
        raise Conflict(
            f"Cannot retry a batch with status '{status.value}': it has not ended. Wait for its "
            "end, or cancel it first."
        )
    if status is BatchStatus.FAILED:
        raise Conflict(
            "Cannot retry a batch with status 'failed': it has no results. Create a new batch, with "
            f"the input file mended where GET /v1/batches/{batch.id}/errors says so."
        )
    if not batch.counts.total and batch.appends is not None:
        raise Conflict(f"Nothing to retry: {batch.id} was cancelled without any request.")
    if not batch.counts.total:
        raise Conflict(
            f"Nothing to retry: {batch.id} was cancelled before its requests were read. Create a new "
            f"batch from its input file {batch.input_file_id}."
        )
    if batch.error_file_id is None:
        raise Conflict(f"Nothing to retry: every request of {batch.id} succeeded.")


def merged_metadata(
    original: Mapping[str, str] | None, given: Mapping[str, str | None], *, batch_id: str
) -> dict[str, str]:
    """Return the original's metadata with the given changes (null removes a key), and the link.

    Raises Invalid if they are too many.
    """
    pairs = {**(original or {}), **given, RETRY_OF: batch_id}
    merged = {key: text for key, text in pairs.items() if text is not None}
    if len(merged) > bodies.MAX_METADATA_PAIRS:
        raise Invalid(
            f"Invalid 'metadata': too many properties. With '{RETRY_OF}' and the original's there "
            f"are {len(merged)}, but at most {bodies.MAX_METADATA_PAIRS} are allowed. Take some "
            'away: {"metadata": {"<key>": null}}.',
            param="metadata",
            code="object_above_max_properties",
        )
    return merged


def retried_callback(
    original: str | None, given: Mapping[str, str | None], callbacks: Callbacks
) -> str | None:
    """Return where the end is told: where the retry's own metadata say, or else where the original's was.

    A null there tells nobody. Raises Invalid.
    """
    if IN_METADATA not in given or not callbacks.is_signed:
        return original
    own = given[IN_METADATA]
    return callback_url(None, None if own is None else {IN_METADATA: own}, callbacks)


def retry_filename(filename: str) -> str:
    """Name the file of a retry after the original: `in.jsonl` gives `in_retry.jsonl`, once."""
    stem, dot, ending = filename.rpartition(".")
    if not dot:
        stem, ending = filename, ""
    return f"{stem.removesuffix(_SUFFIX)}{_SUFFIX}{dot}{ending}"
