"""How commands name a batch. The shell completes names and ids as the server tells them, if it does."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from batchline.cli.render import clean
from batchline.errors import BatchlineError

from .options import DEFAULT_URL

_READ_S = 2.0  # a key press waits for this
_OFFERED = 100


def complete_batch(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return (name or id, status) of the newest batches that begin with what was typed."""
    from .client import Client

    try:
        given = ctx.params
        with Client(
            given.get("url") or DEFAULT_URL, given.get("api_key"), read_s=_READ_S
        ) as client:
            newest = list(islice(client.batches(), _OFFERED))
    except BatchlineError:
        return []
    words = [("@last", "the newest batch")]
    words += [(w, b.status) for b in newest for w in dict.fromkeys((b.name, b.id))]
    return [(w, about) for w, about in words if w.startswith(incomplete) and clean(w) == w]


BatchRef = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Id, unique prefix of it, metadata name, or @last",
        autocompletion=complete_batch,
    ),
]
