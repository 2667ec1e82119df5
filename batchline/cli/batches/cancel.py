"""`batchline cancel`: stops a batch, after saying what is kept and what is stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from batchline import figures
from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.confirm import confirm
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import resolve
from batchline.cli.render import clean, put, put_json, status_words


def cancel(
    *,
    batch: BatchRef,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Stop a batch; what is finished is kept and can be downloaded."""
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        if not yes and not seen.has_ended:
            _ask(seen)
        after = client.cancel(seen.id)
    if as_json:
        put_json(after.raw)
    else:
        put(f"{after.id}  {status_words(after)}")


def _ask(batch: ApiBatch) -> None:
    kept = f"{figures.count(batch.finished)} finished lines are kept"
    stopped = f"{figures.count(batch.total - batch.finished)} are not answered"
    question = f"Cancel {clean(batch.name, limit=80)}? {kept}, {stopped}."
    confirm(question, to_go_on="cancel", declined="Not cancelled; the batch goes on.")
