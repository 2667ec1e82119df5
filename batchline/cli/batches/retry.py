"""`batchline retry`: a new batch of the lines that did not succeed."""

from __future__ import annotations

from typing import Annotated

import typer

from batchline import figures
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import resolve
from batchline.cli.render import clean, put, put_json, say

from .submit import read_metadata


def retry(
    *,
    batch: BatchRef,
    name: Annotated[str | None, typer.Option(help="Another name (metadata 'name')")] = None,
    window: Annotated[
        str | None, typer.Option(help="Time until it expires [default: as the original's]")
    ] = None,
    meta: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; may be repeated")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Run the failed, expired or cancelled lines of a batch again, as a new one; writes its id."""
    metadata = read_metadata(meta or [], name=name)
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        made = client.retry(seen.id, window=window, metadata=metadata)
    count = seen.total - seen.completed
    what = "1 line" if count == 1 else f"{figures.count(count)} lines"
    say(f"{what} of {clean(seen.name, limit=80)} will run again", mark="✓")
    if as_json:
        put_json(made.raw)
    else:
        put(made.id)
