"""`batchline deliveries` and `redeliver`: who got what of batches that ended, and once more."""

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
from batchline.cli.api.webhooks import ApiDelivery, Deliveries
from batchline.cli.failure import Failure
from batchline.cli.render import clean, day_or_time, put, put_json, put_table, say
from batchline.webhooks.records import DeliveryState

WORDS = {
    DeliveryState.PENDING: "◎ pending",
    DeliveryState.DELIVERED: "✓ delivered",
    DeliveryState.GIVEN_UP: "✗ given up",
}

_COLUMNS = (
    "DELIVERY",
    "EVENT",
    "BATCH",
    "RECEIVER",
    "STATE",
    "LINES",
    "ATTEMPTS",
    "NEXT TRY",
    "LAST ERROR",
)


def deliveries(
    *,
    endpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those to this webhook endpoint")
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
    """List what webhooks and handlers got of batches that ended, in the last 7 days, the last first."""
    if endpoint is not None and batch is not None:
        raise Failure("--endpoint and --batch exclude each other.", remedy="leave one of them out")
    with Client(url, api_key) as client:
        batch_id = None if batch is None else resolve(client, batch).id
        found = Deliveries(client).all(endpoint_id=endpoint, batch_id=batch_id)
        seen = list(islice(found, limit + 1))
    shown = seen[:limit]
    if as_json:
        put_json([delivery.raw for delivery in shown])
        return
    if shown:
        put_table(_COLUMNS, [_row(d) for d in shown], right={"ATTEMPTS", "LINES"})
    else:
        say("No delivery. Say where the ends of batches are told:  batchline webhooks add")
        say("or see which handlers get their results:  batchline handlers")
    if len(seen) > limit:
        say(f"There are more:  batchline deliveries --limit {10 * limit}")


def redeliver(
    *,
    delivery: Annotated[
        str, typer.Argument(metavar="ID", help="Id, as 'batchline deliveries' lists it")
    ],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Deliver once more, whatever became of it; the event keeps its id.

    A handler gets all results again.
    """
    with Client(url, api_key) as client:
        replayed = Deliveries(client).replay(delivery)
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
        _receiver(delivery),
        _state_words(delivery),
        _progress(delivery),
        figures.count(delivery.attempts),
        figures.MISSING if due is None else day_or_time(due, now=time.time()),
        clean(delivery.last_error, limit=120) or figures.MISSING,
    )


def _receiver(delivery: ApiDelivery) -> str:
    if delivery.handler:
        return f"handler {clean(delivery.handler, limit=60)}"
    return clean(delivery.host, limit=60)


def _progress(delivery: ApiDelivery) -> str:
    """Say how many results a handler has handled, and of how many where that is not all."""
    done, total = delivery.lines_done, delivery.lines_total
    if done is None or total is None or done == total:
        return figures.count(done)
    return f"{figures.count(done)} of {figures.count(total)}"


def _state_words(delivery: ApiDelivery) -> str:
    try:
        return WORDS[DeliveryState(delivery.state)]
    except ValueError:  # of another version
        return clean(delivery.state, limit=40)
