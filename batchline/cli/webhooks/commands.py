"""The commands of `batchline webhooks`, as one table."""

from __future__ import annotations

from collections.abc import Callable

import typer

from . import endpoints

webhooks = typer.Typer(
    help="Say where the ends of batches are told.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_COMMANDS: dict[str, Callable[..., None]] = {
    "add": endpoints.add,
    "ls": endpoints.ls,
    "rm": endpoints.rm,
    "rotate": endpoints.rotate,
    "test": endpoints.send_test,
    "secret": endpoints.secret,
}
for _name, _command in _COMMANDS.items():
    webhooks.command(_name)(_command)
