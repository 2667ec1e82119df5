"""Which handlers run, and which settings each gets: what was found, matched with the handlers' file.

Runs in a process of its own, as `found` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .found import Broken, Found, is_enabled, look_into, sources, wants_requests


class Wanted(msgspec.Struct, frozen=True):
    """A section of the handlers' file, as far as handlers see it."""

    name: str
    handler: str
    settings: Mapping[str, Any]


class Runnable(msgspec.Struct, frozen=True):
    """A handler that gets batches, or would if it wanted to."""

    name: str
    """What deliveries call it: the name of its section, or its own."""
    handler: str
    source: str
    wants_requests: bool
    has_section: bool


class Inventory(msgspec.Struct, frozen=True):
    """What was found. `off`: handlers that do not want to run."""

    runnable: Sequence[Runnable] = ()
    off: Sequence[Runnable] = ()
    faults: Sequence[str] = ()


def take_inventory(folder: Path | None, sections: Sequence[Wanted]) -> Inventory:
    """Look everywhere, and ask each handler whether it runs with its settings."""
    found: dict[str, Found] = {}
    broken: list[Broken] = []
    for source in sources(folder):
        for one in look_into(source):
            if isinstance(one, Broken):
                broken.append(one)
            else:
                found.setdefault(one.name, one)
    runnable: list[Runnable] = []
    off: list[Runnable] = []
    faults = [f"{folder} is no folder"] if folder is not None and not folder.is_dir() else []
    faults += [
        f"{one.source}: {one.why}" for one in broken if not one.source.startswith("built-in:")
    ]
    for wanted in sections:
        if wanted.handler not in found:
            faults.append(_missing(wanted, found, broken))
            continue
        _ask(wanted, found[wanted.handler], runnable, off, faults)
    taken = {section.handler for section in sections} | {section.name for section in sections}
    for one in found.values():
        if one.name not in taken:
            _ask(None, one, runnable, off, faults)
    return Inventory(runnable, off, faults)


def _ask(
    wanted: Wanted | None,
    found: Found,
    runnable: list[Runnable],
    off: list[Runnable],
    faults: list[str],
) -> None:
    name = found.name if wanted is None else wanted.name
    settings = {} if wanted is None else dict(wanted.settings)
    with_requests = False
    try:
        shall_run = is_enabled(found, settings, has_section=wanted is not None)
        with_requests = shall_run and wants_requests(found, settings)
    except Exception as exc:  # noqa: BLE001 - whatever code of others raises is told
        if wanted is not None:
            faults.append(f"{name}: {exc}")
            return
        shall_run = False
    one = Runnable(name, found.name, found.source, with_requests, wanted is not None)
    (runnable if shall_run else off).append(one)


def _missing(wanted: Wanted, found: Mapping[str, Found], broken: Sequence[Broken]) -> str:
    for one in broken:
        if one.source == f"built-in:{wanted.handler}":
            return f"{wanted.name}: {one.why}"
    known = ", ".join(sorted(found)) or "none"
    return f"{wanted.name}: there is no handler {wanted.handler!r}; found were: {known}"
