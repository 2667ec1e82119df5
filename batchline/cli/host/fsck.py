"""`batchline fsck`: checks the invariants of a data directory, and repairs what can be repaired.

Puts together what `batchline.fsck` needs: the locks, one moment of the database, the blobs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from batchline.blobs import LocalBlobs
from batchline.cli.api.options import AsJson
from batchline.cli.failure import ExitCode, Failure
from batchline.cli.render import put, put_json, say
from batchline.errors import NewerStore, StoreUnavailable
from batchline.fsck.damage import Damage, Found, Severity, Sound
from batchline.fsck.examine import Examination
from batchline.fsck.repair import Repair, plan
from batchline.process.locks import at_work, to_oneself
from batchline.settings import Settings, load_settings
from batchline.store import bytes_kept, open_audit, open_mending
from batchline.store.database.schema import found_schema, known_schema

from .findings import Finding, Level, finding_line

_ROUNDS = 3  # a repair may uncover another fault
_LOST_FOUND = "lost+found"


def fsck(
    *,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Data directory, or a backup of one")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; nobody else may run on it")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave the contents of files unread")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that a data directory is whole, and repair what can be repaired."""
    settings = load_settings(data_dir=directory)
    if not settings.database_path.exists():
        raise Failure(
            f"There is no database in {settings.data_dir}.",
            remedy="name the data directory: batchline fsck DIR, or BATCHLINE_DATA_DIR",
        )
    _refuse(settings.database_path)
    desk = _Desk(settings, deep=not fast, as_json=as_json)
    asyncio.run(desk.repair() if repair else desk.examine())
    raise typer.Exit(desk.conclude())


def _refuse(path: Path) -> None:
    """Refuse a data directory that cannot be examined: that is no damage."""
    try:
        path.open("rb").close()
    except OSError as exc:
        raise Failure(
            f"{path} cannot be read: {exc.strerror or exc}.",
            remedy="run it as the user that batchline runs as",
        ) from exc
    try:
        found, known = found_schema(path), known_schema()
    except StoreUnavailable:
        return  # a finding
    if found > known:
        raise NewerStore(
            f"{path} has schema {found}, this version knows up to {known}: check it with the "
            "batchline that wrote it, or a newer one."
        )


class _Desk:
    """One run: examines, repairs, reports."""

    def __init__(self, settings: Settings, *, deep: bool, as_json: bool) -> None:
        self._settings = settings
        self._deep = deep
        self._as_json = as_json
        self._found: list[Found] = []
        self._repaired: list[str] = []
        self._at_work = at_work(settings.data_dir)

    async def examine(self) -> None:
        """Examine once, without changing anything; show the findings."""
        async for found in self._look():
            self._show(found)

    async def repair(self) -> None:
        """Repair and examine again until nothing more can be repaired."""
        with to_oneself(self._settings.data_dir):
            for _ in range(_ROUNDS):
                self._found = []
                await self.examine()
                if not await self._mend():
                    return
                self._say("Looking again.")
            self._found = []
            await self.examine()

    def conclude(self) -> ExitCode:
        """Say how it ended; return the exit code."""
        wrong = [f for f in self._found if _is_wrong(f)]
        if self._as_json:
            put_json(
                {
                    "ok": not wrong,
                    "directory": str(self._settings.data_dir.absolute()),
                    "at_work": self._at_work,
                    "findings": [_as_json(f) for f in self._found],
                    "repaired": self._repaired,
                }
            )
        elif wrong:
            found = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
            self._say(f"{found} wrong in {self._settings.data_dir}.")
        return ExitCode.ENDED_BADLY if wrong else ExitCode.OK

    async def _look(self) -> AsyncIterator[Found]:
        path = self._settings.database_path
        blobs = LocalBlobs(self._settings.blobs_dir)
        async with AsyncExitStack() as stack:
            if self._at_work:
                yield await self._keep_bytes(stack)
            try:
                audit = await stack.enter_async_context(open_audit(path))
            except StoreUnavailable as exc:
                yield Damage("database", "database", str(exc), advice="restore a backup")
                return
            examination = Examination(audit, blobs, deep=self._deep, at_work=self._at_work)
            async for found in examination.run():
                yield found

    async def _keep_bytes(self, stack: AsyncExitStack) -> Found:
        """Keep housekeeping from deleting anything while the body runs, if the database can be written."""
        who = " and ".join(self._at_work)
        path = self._settings.database_path
        try:
            await stack.enter_async_context(bytes_kept(path, clock_ms=_clock_ms))
        except StoreUnavailable as exc:
            text = f"{who} may delete bytes meanwhile: {exc}"
            advice = "look again: what was only deleted is no longer missing then"
            return Damage("processes", str(path), text, Severity.NOTE, advice=advice)
        return Sound("processes", f"{who} at work: one moment is examined")

    async def _mend(self) -> int:
        """Repair the damages that were found; return how many repairs succeeded."""
        damages = [f for f in self._found if isinstance(f, Damage)]
        mends, done = plan(damages), 0
        if not mends:
            return 0
        async with open_mending(self._settings.database_path, clock_ms=_clock_ms) as store:
            worker = Repair(
                store,
                LocalBlobs(self._settings.blobs_dir),
                lost_found=self._settings.data_dir / _LOST_FOUND,
                clock=time.time,
            )
            for mend in mends:
                try:
                    await worker.mend(mend)
                except StoreUnavailable as exc:
                    self._say(f"✗ cannot be mended: {exc}")
                else:
                    done += 1
        self._repaired += [f"{d.subject}: {d.what}" for d in damages if d.mend is not None]
        return done

    def _show(self, found: Found) -> None:
        self._found.append(found)
        if not self._as_json:
            put(finding_line(_finding(found)))

    def _say(self, text: str) -> None:
        if not self._as_json:
            say(text)


def _is_wrong(found: Found) -> bool:
    return isinstance(found, Damage) and found.severity is Severity.WRONG


def _finding(found: Found) -> Finding:
    if isinstance(found, Sound):
        return Finding(found.check, Level.OK, found.what)
    level = Level.WRONG if _is_wrong(found) else Level.WARNING
    remedy = f"--repair: {found.mend.effect}" if found.mend else found.advice
    return Finding(found.check, level, f"{found.subject}\n{found.what}", remedy)


def _as_json(found: Found) -> dict[str, Any]:
    subject = found.subject if isinstance(found, Damage) else None
    return _finding(found).as_json() | {
        "subject": subject,
        "detail": found.what,
        "can_repair": isinstance(found, Damage) and found.mend is not None,
    }


def _clock_ms() -> int:
    return int(time.time() * 1000)
