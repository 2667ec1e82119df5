"""The handler of results in a history: what its deliverer is told of it, its process, and what it recorded."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
from living import words_of

from .history import Handled
from .schedule import Handling

_CODE = Path(__file__).with_name("handler")
_TESTS = Path(__file__).parents[1]
_PROGRAM = "deliver.handling.child"


def environment(handling: Handling, folder: Path) -> dict[str, str]:
    """Write the plan into a folder of its own, and return what makes a deliverer run the handler."""
    folder.mkdir()
    plan = asdict(handling) | {"failures": dict(handling.failures)}
    (folder / "plan.json").write_text(json.dumps(plan))
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "BATCHLINE_HANDLERS_FOLDER": str(_CODE),
        "RECORDER_FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join([str(_TESTS), *filter(None, found)]),
    }


def process_under(deliverer: int | None) -> int | None:
    """Return the process that runs the handler at present, if one does. `deliverer`: its parent."""
    if deliverer is None:
        return None
    with suppress(OSError):
        for thread in Path(f"/proc/{deliverer}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if _runs_a_handler(int(child)):
                    return int(child)
    return None


def _runs_a_handler(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return {_PROGRAM, "run"} <= set(words_of(psutil.Process(pid)))
    return False


def recorded(folder: Path) -> list[Handled]:
    """Read what the handler wrote down, its attempts in order."""
    runs: dict[str, Handled] = {}
    try:
        lines = (folder / "record.jsonl").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # its writer died, or it is the blank one at the beginning
        _note(runs, told)
    return list(runs.values())


def _note(runs: dict[str, Handled], told: dict) -> None:
    if told["what"] == "begins":
        runs[told["run"]] = Handled(
            told["batch"], told["key"], told["start"], told["state"], told["pid"], told["at"]
        )
    run = runs[told["run"]]
    run.ended_at = told["at"]
    match told["what"]:
        case "line":
            run.lines.append(told["line"])
        case "checkpoint":
            run.checkpoints.append(told["taken"])
        case "ends":
            run.end = told["how"]


def still_alive(runs: list[Handled]) -> tuple[int, ...]:
    """Return the processes of these attempts that are not gone."""
    return tuple(run.pid for run in runs if _runs_a_handler(run.pid))
