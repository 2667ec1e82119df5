"""`batchline pause`, `resume`, `finalize` and `rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from batchline.cli.api.batch import ApiBatch
from batchline.cli.api.client import Client
from batchline.cli.api.complete import BatchRef
from batchline.cli.api.confirm import confirm
from batchline.cli.api.options import DEFAULT_URL, ApiKey, AsJson, Url
from batchline.cli.api.resolve import resolve
from batchline.cli.failure import Failure
from batchline.cli.render import clean, put, put_json, status_words


def pause(
    *, batch: BatchRef, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Send nothing more of a batch until it is resumed; what is under way is finished and kept."""
    with Client(url, api_key) as client:
        _show(client.steer(resolve(client, batch).id, "pause"), as_json=as_json)


def resume(
    *, batch: BatchRef, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Go on with a paused batch."""
    with Client(url, api_key) as client:
        _show(client.steer(resolve(client, batch).id, "resume"), as_json=as_json)


def finalize(
    *, batch: BatchRef, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = None
) -> None:
    """Let an open batch take no more requests; it ends with its last one."""
    with Client(url, api_key) as client:
        _show(client.steer(resolve(client, batch).id, "finalize"), as_json=as_json)


def rm(
    *,
    batch: BatchRef,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Delete a batch that has ended, with its result files, and its input if no other batch uses it."""
    with Client(url, api_key) as client:
        seen = resolve(client, batch)
        if not seen.has_ended:  # the server would cancel it
            raise _is_open(seen)
        if not yes:
            _ask(seen)
        deleted = client.delete_batch(seen.id)
    if as_json:
        put_json(deleted)
    else:
        put(f"{seen.id}  deleted")


def _show(batch: ApiBatch, *, as_json: bool) -> None:
    if as_json:
        put_json(batch.raw)
    else:
        put(f"{batch.id}  {status_words(batch)}")


def _is_open(batch: ApiBatch) -> Failure:
    return Failure(
        f"{clean(batch.name, limit=80)} has not ended yet; it is {batch.status}.",
        why="Only a batch that has ended can be deleted.",
        remedy=f"batchline cancel {batch.id}, or wait for its end",
    )


def _ask(batch: ApiBatch) -> None:
    question = f"Delete {clean(batch.name, limit=80)} and its files? They cannot be brought back."
    confirm(question, to_go_on="delete", declined="Not deleted.")
