"""The disk is full for a while in the middle of a batch: it waits, says so, and then completes.

The data directory is a small file system of its own, filled up by a file beside it:

    watermark    less is free than shall be kept free
    bytes        not a byte is free
    inodes       no file can be made
    flapping     what is free goes up and down by some kilobytes, so that writes break anywhere
    publishing   the results of a batch that is otherwise done do not fit
"""

from __future__ import annotations

import math
import random
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import openai
from waiting import wait_until

from .small_disks import MIB, Filler, small_disk
from .stage import Stage, lines, notices, staged, until

KINDS = ("watermark", "bytes", "inodes", "flapping", "publishing")
_LATENCY_S = 0.1
_LEASE_S = 30  # the setting, as it is by default
_MARKS = {"watermark": 16 * MIB, "publishing": 4 * MIB}
_WORDS = re.compile("disk|room|stored")


@dataclass
class FullDisk:
    """What one run measured."""

    kind: str
    lines: int
    full_s: float = 0.0
    named_after_s: float = 0.0
    """From the fill to the reason in `/ready`."""
    ready: str = ""
    dashboard: str = ""
    upload: str = ""
    left_behind: list[str] = field(default_factory=list)
    """Files that the refused upload left."""
    counted: list[int] = field(default_factory=list)
    """Finished lines at the fill, and at its end."""
    status_while_full: str = ""
    resumed_after_s: float = 0.0
    status: str = ""
    failed: int = -1
    in_order: bool = False
    sent_again: int = -1
    integrity: str = ""
    tracebacks: int = -1
    warnings: int = -1
    """Lines of the dispatcher's log that are no news."""

    def check(self) -> None:
        assert _WORDS.search(self.ready), self.ready
        assert _WORDS.search(self.dashboard), self.dashboard
        assert self.kind == "flapping" or self.upload.startswith("507"), self.upload
        assert self.left_behind == []
        assert self.status_while_full in {"in_progress", "finalizing"}
        assert (self.status, self.failed, self.in_order) == ("completed", 0, True)
        # Nobody can renew a lease while nothing can be written.
        assert self.sent_again == 0 or self.full_s > _LEASE_S
        assert self.integrity == "ok"
        assert self.tracebacks == 0

    def __str__(self) -> str:
        return "\n  ".join(f"{name}: {value}" for name, value in vars(self).items())


def run(
    folder: Path, *, kind: str = "watermark", count: int = 4000, full_s: float = 30.0
) -> FullDisk:
    """Fill the disk in the middle of a batch, for `full_s`."""
    measured = FullDisk(kind, count)
    with small_disk(folder, size_mib=64, inodes=400) as disk:
        with staged(
            folder,
            servers=2,
            latency_s=_LATENCY_S,
            data_dir=disk / "data",
            max_in_flight=64,
            min_free_bytes=_MARKS.get(kind, 0),
        ) as stage:
            stage.start()
            batch = stage.system.submit(lines(count, padding_bytes=1000))
            _Full(stage, Filler(disk), batch, measured).go_through(full_s)
            ended = stage.system.ended(batch, within_s=120)
            measured.status = ended.status
            output, errors = stage.system.results(ended)
            measured.in_order = [o["custom_id"] for o in output] == [
                f"id-{n}" for n in range(count)
            ]
            measured.failed = len(errors)
            measured.sent_again = stage.servers.sends().total() - count
            measured.tracebacks = stage.system.logs().count("Traceback")
            measured.warnings = (folder / "dispatcher.log").read_text().count(" WARNING ")
        with closing(sqlite3.connect(disk / "data" / "batchline.sqlite3")) as database:
            (measured.integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    return measured


class _Full:
    """The time in which the disk is full."""

    def __init__(self, stage: Stage, filler: Filler, batch, measured: FullDisk) -> None:
        self._stage = stage
        self._filler = filler
        self._batch = batch
        self._measured = measured
        self._chance = random.Random(1)
        self._blobs = stage.folder / "disk" / "data" / "blobs"

    def go_through(self, full_s: float) -> None:
        measured, system = self._measured, self._stage.system
        quarter = measured.lines // 4
        if measured.kind == "publishing":
            quarter *= 3  # enough is stored that the files would not fit
        system.until(self._batch, lambda b: b.request_counts.completed > quarter)
        before = self._uploads()
        filled_at = time.monotonic()
        self._fill()
        measured.counted.append(self._finished())
        self._until(self._is_named, what="the reason in /ready")
        measured.named_after_s = time.monotonic() - filled_at
        self._until(lambda: _WORDS.search(notices(system)), what="a notice on the dashboard")
        measured.dashboard = notices(system)
        measured.upload = _try_upload(system)

        def has_been_full() -> bool:
            self._fill()
            self._is_named()
            return time.monotonic() - filled_at > full_s

        wait_until(has_been_full, within_s=math.inf, every_s=0.2)
        measured.full_s = time.monotonic() - filled_at
        measured.left_behind = sorted(self._uploads() - before)
        measured.counted.append(self._finished())
        measured.status_while_full = system.client.batches.retrieve(self._batch.id).status
        self._filler.give_back()
        opened_at = time.monotonic()
        system.until(self._batch, self._goes_on, within_s=60)
        measured.resumed_after_s = time.monotonic() - opened_at

    def _fill(self) -> None:
        match self._measured.kind:
            case "watermark":
                self._filler.leave(_MARKS["watermark"] // 2)
            case "publishing":  # more than the mark, and less than the files of results need
                self._filler.leave(_MARKS["publishing"] * 9 // 8)
            case "bytes":
                self._filler.leave(0)
            case "inodes":
                self._filler.take_inodes()
            case "flapping":
                self._filler.leave(self._chance.randrange(100_000))

    def _until(self, condition: Callable[[], object], *, what: str) -> None:
        def holds() -> object:
            self._fill()
            return condition()

        until(holds, within_s=60, what=what)

    def _finished(self) -> int:
        counts = self._stage.system.client.batches.retrieve(self._batch.id).request_counts
        return counts.completed

    def _goes_on(self, batch) -> bool:
        is_further = batch.request_counts.completed > self._measured.counted[-1]
        return is_further or batch.status == "completed"

    def _is_named(self) -> bool:
        _, text = self._stage.system.get("/ready")
        if found := bool(_WORDS.search(text)):
            self._measured.ready = text
        return found

    def _uploads(self) -> set[str]:
        """Return the uploaded and temporary files that lie on the disk."""
        return {
            str(path.relative_to(self._blobs))
            for folder in ("tmp", "files")
            for path in (self._blobs / folder).rglob("*")
            if path.is_file()
        }


def _try_upload(system) -> str:
    client = system.client.with_options(max_retries=0)
    try:
        client.files.create(file=lines(40_000, padding_bytes=1000), purpose="batch")
    except openai.APIStatusError as exc:
        return f"{exc.status_code} {exc.message}"
    return "taken"
