"""Which handlers this deliverer runs: reads the operator's file, and has a process look for their code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batchline.handlers.sections import Limits, Section, When, read_sections
from batchline.webhooks.records import EventType, Standing, handler_url

from .child import Look
from .inventory import Inventory, Runnable, Wanted
from .limited_process import running

_LIMITS = Limits(seconds=120.0)


@dataclass(frozen=True, slots=True)
class Installed:
    """A handler that gets batches, and what the operator set for it."""

    runnable: Runnable
    section: Section

    @property
    def name(self) -> str:
        """What deliveries call it."""
        return self.runnable.name

    @property
    def standing(self) -> Standing:
        """Which events it gets."""
        when = self.section.when
        types = tuple(EventType(f"batch.{status}") for status in when.status)
        return Standing(handler_url(self.name), types, dict(when.metadata))


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, and in words what is wrong."""

    installed: Sequence[Installed] = ()
    off: Sequence[Runnable] = ()
    """Handlers that do not want to run."""
    faults: Sequence[str] = ()


async def survey(file: Path | None, folder: Path | None, environment: Mapping[str, str]) -> Survey:
    """Look for handlers. Takes as long as importing them does."""
    sections, faults = await asyncio.to_thread(_sections, file, environment)
    inventory = await _taken(folder, sections)
    by_name = {section.name: section for section in sections}
    installed = [
        Installed(one, by_name.get(one.name) or Section(one.name, one.handler, When(), Limits()))
        for one in inventory.runnable
    ]
    return Survey(installed, inventory.off, [*faults, *inventory.faults])


def _sections(
    file: Path | None, environment: Mapping[str, str]
) -> tuple[Sequence[Section], Sequence[str]]:
    if file is None:
        return (), ()
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        return (), [f"{file} cannot be read: {exc}"]
    sections, faults = read_sections(text, environment)
    return sections, [f"{file}: {fault}" for fault in faults]


async def _taken(folder: Path | None, sections: Sequence[Section]) -> Inventory:
    look = Look(
        None if folder is None else str(folder),
        [Wanted(section.name, section.handler, section.settings) for section in sections],
    )
    async with running("list", "handlers") as program:
        program.writer.write(msgspec.json.encode(look))
        program.writer.write_eof()
        reading = asyncio.ensure_future(program.reader.read())
        why = await program.wait(_LIMITS)
        answer = await reading
    try:
        return msgspec.json.decode(answer, type=Inventory)
    except msgspec.DecodeError:
        return Inventory(faults=[f"looking for handlers failed: {why or 'nothing was found'}"])
