"""The entry of the command line: the table of commands, loaded one at a time, and how errors end them.

A command's module is imported only when the command or its help is called, so that every command starts
fast; the general help reads only the table below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batchline.errors import BatchlineError, Unavailable

from .failure import ExitCode, Failure
from .render import clean, say_failure

COMMANDS = {
    "up": ("host.up", "Start model servers, nginx and the processes of batchline on this machine."),
    "serve": ("host.up", "Run the processes of batchline against model servers that already run."),
    "submit": ("batches.submit", "Upload a file of requests and start a batch; writes its id."),
    "watch": ("batches.watch", "Follow a batch until it ends; Ctrl-C leaves it running."),
    "ls": ("batches.listing", "List batches, newest first."),
    "show": ("batches.listing", "Show everything about one batch."),
    "results": ("batches.results", "Download the answers of a batch, or those there are so far."),
    "errors": ("batches.partial", "Write the lines that failed so far."),
    "retry": (
        "batches.retry",
        "Run the failed, expired or cancelled lines of a batch again, as a new one.",
    ),
    "pause": ("batches.steer", "Send nothing more of a batch until it is resumed."),
    "resume": ("batches.steer", "Go on with a paused batch."),
    "finalize": ("batches.steer", "Let an open batch take no more requests."),
    "cancel": ("batches.cancel", "Stop a batch; what is finished is kept."),
    "rm": ("batches.steer", "Delete a batch that has ended, with its result files."),
    "webhooks": ("webhooks.commands", "Say where the ends of batches are told."),
    "deliveries": ("deliveries.log", "List what webhooks and handlers got of batches that ended."),
    "redeliver": ("deliveries.log", "Deliver once more, whatever became of it."),
    "handlers": ("deliveries.handlers", "List the handlers of results that run on this host."),
    "doctor": ("host.doctor", "Check everything and say what is wrong and how to mend it."),
    "backup": ("host.backup", "Copy a data directory, consistent, also while everything runs."),
    "fsck": ("host.fsck", "Prove that a data directory is whole, and repair what can be repaired."),
    "gateway": ("host.processes", "Run the gateway: the API and the dashboard."),
    "dispatcher": (
        "host.processes",
        "Run the dispatcher: it sends the lines of batches to the model servers.",
    ),
    "deliver": (
        "host.processes",
        "Run the deliverer: it tells webhooks and handlers the end of batches.",
    ),
    "version": ("host.version", "Write the version."),
    "docs": ("host.docs", ""),
}
"""Name -> (module, one line of help); a command without help is not listed."""

_PIPE_CLOSED = 141  # as if killed by SIGPIPE, like every other filter


class _Commands(TyperGroup):
    """Commands that are imported when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        del ctx
        return [name for name, (_, line) in COMMANDS.items() if line]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command, or return None where there is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        made = getattr(module, cmd_name)
        if isinstance(made, typer.Typer):  # it has commands of its own
            return typer.main.get_command(made)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(made)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table without importing the commands."""
        rows = [(name, COMMANDS[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what it raises into an exit code and an error that says what to do."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            say_failure(failure)
            raise typer.Exit(failure.code) from None
        except BatchlineError as exc:
            what, *why = str(exc).splitlines() or [type(exc).__name__]
            say_failure(Failure(clean(what), why="\n".join(clean(line.strip()) for line in why)))
            away = isinstance(exc, Unavailable)
            raise typer.Exit(ExitCode.UNREACHABLE if away else ExitCode.USAGE) from None
        except KeyboardInterrupt:
            say_failure(Failure("Interrupted."))
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone (`batchline ls | head`). What is still buffered must not raise at exit.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - closed with the process
            raise typer.Exit(_PIPE_CLOSED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _write_version(wanted: bool) -> None:
    if wanted:
        from batchline.cli.host.version import version

        version()
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_write_version, is_eager=True, help="Write the version."
        ),
    ] = False,
) -> None:
    """Send batches of requests to your own GPUs, and run the servers that answer them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    os.umask(
        0o077
    )  # prompts, answers, keys: only their owner may read what we and our children write
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(args=arguments, prog_name="batchline")


if __name__ == "__main__":
    main()
