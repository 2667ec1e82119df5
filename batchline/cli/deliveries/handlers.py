"""`batchline handlers`: which handlers of results run with the settings of this shell, and which do not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from batchline import figures
from batchline.child_environment import child_environment
from batchline.cli.api.options import AsJson
from batchline.cli.failure import ExitCode
from batchline.cli.render import clean, put_json, put_table, say
from batchline.settings import Settings, load_settings

if TYPE_CHECKING:
    from deliver.handling.inventory import Runnable
    from deliver.handling.survey import Installed, Survey

_COLUMNS = ("HANDLER", "SECTION", "STATE", "BATCHES", "SOURCE")
_RUNS, _OFF = "▶ runs", "– off"


def handlers(*, as_json: AsJson = False) -> None:
    """List the handlers of results that run on this host, those that are off, and what is wrong.

    Asks no server: it looks where a deliverer with these settings and variables would look.
    """
    found = surveyed(load_settings())
    if as_json:
        put_json(
            {
                "handlers": [_runs_as_json(one) for one in found.installed]
                + [_as_json(one, is_off=True) for one in found.off],
                "faults": list(found.faults),
            }
        )
    else:
        rows = [_row(one.runnable, _RUNS, _batches(one)) for one in found.installed]
        rows += [_row(one, _OFF, figures.MISSING) for one in found.off]
        if rows:
            put_table(_COLUMNS, rows)
        else:
            say("No handler was found.")
        for fault in found.faults:
            say(clean(fault), mark="✗")
        if found.faults:
            say("Next: mend this; a deliverer does not start before.")
    raise typer.Exit(ExitCode.ENDED_BADLY if found.faults else ExitCode.OK)


def surveyed(settings: Settings) -> Survey:
    """Look for handlers as the deliverer does. Takes as long as importing them does."""
    from deliver.handling.survey import survey

    return asyncio.run(
        survey(settings.handlers_file, settings.handlers_folder, child_environment())
    )


def _row(one: Runnable, state: str, batches: str) -> tuple[str, ...]:
    section = clean(one.name) if one.has_section else figures.MISSING
    return (clean(one.handler), section, state, batches, clean(one.source, limit=120))


def _batches(one: Installed) -> str:
    """Say which batches it gets: `completed, expired with team=curation`."""
    when = one.section.when
    metadata = ", ".join(f"{key}={value}" for key, value in when.metadata.items())
    return ", ".join(when.status) + (f" with {clean(metadata, limit=60)}" if metadata else "")


def _runs_as_json(one: Installed) -> dict[str, Any]:
    when = one.section.when
    batches = {"status": list(when.status), "metadata": dict(when.metadata)}
    return _as_json(one.runnable, is_off=False) | {"batches": batches}


def _as_json(one: Runnable, *, is_off: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "handler": one.handler,
        "has_section": one.has_section,
        "is_off": is_off,
        "source": one.source,
    }
