"""`batchline backup DIR`: copy a data directory while it is in use."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from batchline import figures
from batchline.backup import Made, back_up
from batchline.cli.api.options import AsJson
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import put, put_json, say
from batchline.process.failpoints import arm
from batchline.settings import armed_failpoints, load_settings

from .processes import Data

_SAY_EVERY_S = 30.0


def backup(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the backup")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Copy a data directory, consistent, also while everything runs."""
    settings = load_settings(data_dir=data)
    arm(armed_failpoints())
    if not settings.database_path.exists():
        raise Failure(
            f"There is no database in {settings.data_dir}.",
            remedy="name the data directory with --data, or BATCHLINE_DATA_DIR",
        )
    began = time.monotonic()
    made = asyncio.run(
        back_up(settings, directory, clock=time.time, on_copied=_Progress(began).copied)
    )
    _tell(made, time.monotonic() - began, as_json=as_json)
    raise typer.Exit(ExitCode.ENDED_BADLY if made.missing else ExitCode.OK)


class _Progress:
    """Writes now and then how much is copied."""

    def __init__(self, began: float) -> None:
        self._said_at = began
        self._bytes = 0

    def copied(self, size_bytes: int) -> None:
        """Count, and write if it is time."""
        self._bytes += size_bytes
        if time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            say(f"{figures.size(self._bytes)} copied")


def _tell(made: Made, seconds: float, *, as_json: bool) -> None:
    if as_json:
        put_json(
            {
                "directory": str(made.directory.absolute()),
                "files": made.blobs + 1,
                "bytes": made.size_bytes,
                "database_bytes": made.database_bytes,
                "seconds": round(seconds, 3),
                "missing": made.missing,
            }
        )
        return
    put(
        f"✓ {figures.count(made.blobs + 1)} files, {figures.size(made.size_bytes)}, copied to "
        f"{made.directory} in {figures.duration(seconds)}"
    )
    if made.missing:
        say(
            f"✗ {len(made.missing)} files are missing or short in the data directory itself, such as "
            f"{made.missing[0]}.\n  Next: batchline fsck"
        )
