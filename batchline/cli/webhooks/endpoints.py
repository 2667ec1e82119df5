"""`batchline webhooks add`, `ls`, `rm`, `rotate`, `test` and `secret`: the receivers, and what signs."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from batchline import figures
from batchline.cli.api.client import Client
from batchline.cli.api.confirm import confirm
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.webhooks import ApiEndpoint, Webhooks
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import clean, day_or_time, put, put_json, put_table, say
from batchline.webhooks.records import EventType, new_secret

_TAKEN = range(200, 300)
_COLUMNS = ("ENDPOINT", "NAME", "URL", "EVENTS", "SECRET", "CREATED")

EndpointId = Annotated[
    str, typer.Argument(metavar="ID", help="Id, as 'batchline webhooks ls' lists it")
]


def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for people")],
    receiver: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent")],
    event: Annotated[
        list[EventType] | None,
        typer.Option(help="Only these events; may be repeated [default: all]"),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Tell the ends of batches to a URL; writes the secret that signs, which is shown only here."""
    with Client(url, api_key) as client:
        made = Webhooks(client).add(name, receiver, event or list(EventType))
    _show_secret(made, f"{made.id} gets events from now on", as_json=as_json)


def ls(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None) -> None:
    """List the endpoints, newest first."""
    with Client(url, api_key) as client:
        found = list(Webhooks(client).endpoints())
    if as_json:
        put_json([endpoint.raw for endpoint in found])
    elif found:
        put_table(_COLUMNS, [_row(endpoint) for endpoint in found])
    else:
        say("No endpoint. Add one:  batchline webhooks add NAME https://example.com/hook")


def rm(
    *,
    endpoint: EndpointId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Delete an endpoint; its pending deliveries are given up."""
    with Client(url, api_key) as client:
        webhooks = Webhooks(client)
        if not yes:
            seen = webhooks.endpoint(endpoint)
            where = clean(seen.url, limit=120)
            question = (
                f"Delete {clean(seen.name, limit=80)} ({where}), and give up what is pending?"
            )
            confirm(question, to_go_on="delete", declined="Not deleted.")
        deleted = webhooks.delete(endpoint)
    if as_json:
        put_json(deleted)
    else:
        put(f"{endpoint}  deleted")


def rotate(
    *,
    endpoint: EndpointId,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Let the old secret sign too, for 24 hours")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Give an endpoint a new secret; writes it, which is shown only here."""
    with Client(url, api_key) as client:
        made = Webhooks(client).rotate(endpoint, keep_old=keep_old)
    old = "signs too for 24 hours" if keep_old else "signs no more"
    _show_secret(made, f"{made.id} has a new secret; the old one {old}", as_json=as_json)


def send_test(
    *,
    endpoint: EndpointId,
    event: Annotated[EventType, typer.Option(help="Which event to send")] = EventType.COMPLETED,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Send an endpoint a signed event of no batch, and say what it answered."""
    with Client(url, api_key) as client:
        result = Webhooks(client).test(endpoint, event)
    if as_json:
        put_json(result)
    status = result.get("status_code")
    if not isinstance(status, int) or status not in _TAKEN:
        raise Failure(
            "The receiver did not take the event.",
            why=f"It answered {clean(str(status), limit=40)}.",
            remedy="let it answer 200 to 299 within 10 seconds",
            code=ExitCode.ENDED_BADLY,
        )
    if not as_json:
        put(f"{endpoint}  ✓ took {event.value} ({status})")


def secret() -> None:
    """Make a secret that signs what is told to callback URLs; it is stored nowhere."""
    put(new_secret())
    say("Set it as BATCHLINE_WEBHOOK_SECRET of the server, and give it to the receivers.")


def _show_secret(endpoint: ApiEndpoint, done: str, *, as_json: bool) -> None:
    say(done, mark="✓")
    if as_json:
        put_json(endpoint.raw)
        return
    put(clean(endpoint.secret))
    say("Keep this secret: it is not shown again.")


def _row(endpoint: ApiEndpoint) -> tuple[str, ...]:
    every = set(endpoint.event_types) >= set(EventType)
    created = endpoint.created_at
    return (
        endpoint.id,
        clean(endpoint.name, limit=40),
        clean(endpoint.url, limit=80),
        "all" if every else clean(", ".join(endpoint.event_types), limit=80),
        clean(endpoint.hint, limit=40),
        figures.MISSING if created is None else day_or_time(created, now=time.time()),
    )
