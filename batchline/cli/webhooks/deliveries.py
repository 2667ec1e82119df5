"""`batchline webhooks deliveries` and `replay`: what was told, what was not taken, and once more."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer

from batchline import figures
from batchline.cli.api.client import Client
from batchline.cli.api.complete import complete_batch
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import resolve
from batchline.cli.api.webhooks import ApiDelivery, Webhooks
from batchline.cli.failure import Failure
from batchline.cli.render import clean, day_or_time, put, put_json, put_table, say
from batchline.webhooks.records import DeliveryState

WORDS = {
    DeliveryState.PENDING: "◎ pending",
    DeliveryState.DELIVERED: "✓ delivered",
    DeliveryState.GIVEN_UP: "✗ given up",
}

_COLUMNS = ("DELIVERY", "EVENT", "BATCH", "RECEIVER", "STATE", "ATTEMPTS", "NEXT TRY", "LAST ERROR")


def deliveries(
    *,
    endpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those to this endpoint")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only those of this batch", autocompletion=complete_batch),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """List deliveries of the last 7 days, the last made first."""
    if endpoint is not None and batch is not None:
        raise Failure("--endpoint and --batch exclude each other.", remedy="leave one of them out")
    with Client(url, api_key) as client:
        batch_id = None if batch is None else resolve(client, batch).id
        found = Webhooks(client).deliveries(endpoint_id=endpoint, batch_id=batch_id)
        seen = list(islice(found, limit + 1))
    shown = seen[:limit]
    if as_json:
        put_json([delivery.raw for delivery in shown])
        return
    if shown:
        put_table(_COLUMNS, [_row(d) for d in shown], right={"ATTEMPTS"})
    else:
        say("No delivery. Say where the ends of batches are told:  batchline webhooks add")
    if len(seen) > limit:
        say(f"There are more:  batchline webhooks deliveries --limit {10 * limit}")


def replay(
    *,
    delivery: Annotated[
        str, typer.Argument(metavar="ID", help="Id, as 'batchline webhooks deliveries' lists it")
    ],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Deliver once more, whatever became of it; the event keeps its id."""
    with Client(url, api_key) as client:
        replayed = Webhooks(client).replay(delivery)
    if as_json:
        put_json(replayed.raw)
    else:
        put(f"{replayed.id}  {_state_words(replayed)}")


def _row(delivery: ApiDelivery) -> tuple[str, ...]:
    due = delivery.next_attempt_at
    return (
        delivery.id,
        clean(delivery.event_type, limit=40),
        clean(delivery.batch_id, limit=60),
        clean(delivery.host, limit=60),
        _state_words(delivery),
        figures.count(delivery.attempts),
        figures.MISSING if due is None else day_or_time(due, now=time.time()),
        clean(delivery.last_error, limit=120) or figures.MISSING,
    )


def _state_words(delivery: ApiDelivery) -> str:
    try:
        return WORDS[DeliveryState(delivery.state)]
    except ValueError:  # of another version
        return clean(delivery.state, limit=40)
