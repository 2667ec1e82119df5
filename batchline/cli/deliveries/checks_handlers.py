"""Doctor's check of handlers of results: those that the operator set up can all run."""

from __future__ import annotations

from collections.abc import Iterator

from batchline.cli.host.findings import Finding, good, warning, wrong
from batchline.settings import Settings

from .handlers import surveyed

_CHECK = "handlers"


def check_handlers(settings: Settings) -> Iterator[Finding]:
    """Each fault of the handlers' file and folder; nothing where nobody set a handler up.

    It imports their code, in a process of its own, as the deliverer does at its start.
    """
    from deliver.handling.found import has_packages

    if settings.handlers_file is None and settings.handlers_folder is None and not has_packages():
        return
    found = surveyed(settings)
    for fault in found.faults:
        yield wrong(_CHECK, fault, _remedy(fault, settings))
    if found.faults:
        return
    names = ", ".join(one.name for one in found.installed)
    if names:
        yield good(_CHECK, f"{names} can run here")
    else:
        yield warning(_CHECK, "none runs", "batchline handlers: lists those that are off")


def _remedy(fault: str, settings: Settings) -> str:
    """Say where it is mended; the deliverer does not start before."""
    file, folder = settings.handlers_file, settings.handlers_folder
    if fault.startswith(f"{file} "):
        return "name a file that can be read with BATCHLINE_HANDLERS_FILE"
    if fault.startswith(f"{folder} "):
        return "name a folder with BATCHLINE_HANDLERS_FOLDER"
    if fault.startswith("folder:"):
        return "mend it, or let the name of the file begin with _ to leave it out"
    if fault.startswith("package:"):
        return "mend the package, or uninstall it"
    return f"correct {file}; the deliverer does not start before"
