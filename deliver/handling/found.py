"""Where handlers are found: in a folder, in installed packages, and beside this module.

Runs in processes of handlers alone, since looking imports code of others. A source is written as

    folder:/etc/batchline/handlers/mine.py      a file of the handlers' folder
    package:name                                an entry point of the group `batchline.handlers`
    built-in:name                               one of ours
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from batchline.handlers.register import take_registered
from batchline.handlers.sections import is_handler_name

GROUP = "batchline.handlers"
BUILT_IN = {
    "csv": "deliver.builtin.files.csv_files:CsvFiles",
    "label-studio": "deliver.builtin.label_studio:LabelStudio",
    "parquet": "deliver.builtin.files.parquet_files:ParquetFiles",
    "postgres": "deliver.builtin.postgres:Postgres",
    "s3": "deliver.builtin.s3:S3",
    "webhook": "deliver.builtin.webhook:Webhook",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A handler: its name, where it lies, and an instance of it."""

    name: str
    source: str
    handler: Any

    @property
    def needs_section(self) -> bool:
        """Whether it runs only if the operator set it up, unless it says so itself."""
        return not self.source.startswith("folder:")


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that cannot be imported, or is no handler."""

    source: str
    why: str


def sources(folder: Path | None) -> Iterator[str]:
    """Name everything that may hold handlers; of handlers of one name the first counts."""
    if folder is not None:
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                yield f"folder:{path}"
    for point in sorted(_entry_points(), key=lambda point: point.name):
        yield f"package:{point.name}"
    for name in BUILT_IN:
        yield f"built-in:{name}"


def has_packages() -> bool:
    """Whether an installed package has handlers."""
    return bool(_entry_points())


def look_into(source: str) -> list[Found | Broken]:
    """Import a source and return its handlers. Code of others runs: anything may happen."""
    kind, _, where = source.partition(":")
    take_registered()
    try:
        match kind:
            case "folder":
                objects = _in_file(Path(where))
            case "package":
                objects = [point.load() for point in _entry_points() if point.name == where]
            case _:
                objects = [_built_in(where)]
        if not objects:
            return [Broken(source, "it registers no handler")]
        return [_found(source, one) for one in objects]
    except Exception as exc:  # noqa: BLE001 - whatever code of others raises is told
        return [Broken(source, f"{type(exc).__name__}: {exc}")]


def _entry_points() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _built_in(name: str) -> Any:
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _in_file(path: Path) -> list[Any]:
    name = f"batchline_handlers_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "as above"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    sys.path.insert(0, str(path.parent))  # for what lies beside it
    spec.loader.exec_module(module)
    return take_registered()


def _found(source: str, given: Any) -> Found | Broken:
    handler = given() if inspect.isclass(given) else given
    name = getattr(handler, "name", None)
    name = name() if callable(name) else name
    if not isinstance(name, str) or not is_handler_name(name):
        return Broken(source, f"{type(handler).__name__} has no usable name, but {name!r}")
    if not callable(getattr(handler, "handle", None)):
        return Broken(source, f"{name} has no method 'handle'")
    return Found(name, source, handler)


def is_enabled(found: Found, settings: dict[str, Any], *, has_section: bool) -> bool:
    """Whether a handler shall run. Raises what its own `enabled` raises: ValueError for bad settings."""
    enabled = getattr(found.handler, "enabled", None)
    if enabled is None:
        return has_section or not found.needs_section
    if not callable(enabled):
        return bool(enabled)
    takes = inspect.signature(enabled).parameters
    return bool(enabled(settings) if takes else enabled())


def wants_requests(found: Found, settings: dict[str, Any]) -> bool:
    """Whether its results shall bring their requests. Raises what its own method raises."""
    wants = getattr(found.handler, "wants_requests", False)
    return bool(wants(settings) if callable(wants) else wants)


def is_async(handler: Any) -> bool:
    """Whether it has the form with a stream of results."""
    return inspect.iscoroutinefunction(handler.handle)
