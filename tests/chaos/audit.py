"""Looks into a data directory: while it is in use (one read transaction), and after everything stopped.

Of what it finds it changes one thing, the times for which deliveries wait: the hours that they would take.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from batchline.blobs import open_blobs
from batchline.blobs.folders import walk
from batchline.fsck.damage import Damage, Severity
from batchline.fsck.examine import Examination
from batchline.store import open_audit

from .history import AtRest, Look, Noted

_BY_BATCH = (
    "SELECT b.id, b.seq, b.completed + b.failed AS counted, "
    "(SELECT coalesce(sum(settled), 0) FROM slices s WHERE s.batch_seq = b.seq) AS in_slices "
    "FROM batches b WHERE b.status IN ('in_progress', 'finalizing', 'cancelling')"
)
_PUBLISHED = (
    "SELECT b.id FROM batches b JOIN files f ON f.id IN (b.output_file_id, b.error_file_id)"
)
_UNDELIVERED = (
    "SELECT 'event ' || type || ' of ' || batch_id || ': no deliveries are made' "
    "FROM events WHERE NOT is_addressed "
    "UNION ALL "
    "SELECT 'delivery ' || d.number || ' of ' || v.batch_id || ': ' || d.state || ' after ' || "
    "d.attempts || ' attempts, ' || coalesce(d.last_error, 'no error') "
    "FROM deliveries d JOIN events v ON v.id = d.event_id WHERE d.state != 'delivered' "
    "AND d.due_at <= :due_by AND d.leased_until_ms <= :due_by * 1000 "
    # results of a batch that is deleted are nobody's
    "AND NOT (d.state = 'given_up' AND d.url LIKE 'handler:%' "
    "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = v.batch_id))"
)
_HANDLED = (
    "SELECT v.batch_id, d.event_id, d.state, d.lines_done, d.last_error "
    "FROM deliveries d JOIN events v ON v.id = d.event_id WHERE d.url LIKE 'handler:%'"
)
_LEASED = "SELECT number FROM deliveries WHERE state = 'pending' AND leased_until_ms > :now * 1000"
_MAKE_DUE = "UPDATE deliveries SET due_at = 0, leased_until_ms = 0 WHERE state = 'pending'"
_EVER = 1 << 40
_OWNER, _TEMPORARY = "owner", "tmp/"
_LEFT = ("slices", "outcomes", "segments", "appended_ids", "garbage")


def database(data: Path) -> Path:
    """Return the path of the database of a data directory."""
    return data / "batchline.sqlite3"


def look(data: Path, names: dict[str, str]) -> Look | None:
    """Read what is settled and what is counted, in one snapshot; None while it cannot be read.

    `names`: batch id → name. Batches that have ended are left out: housekeeping takes their rows.
    """
    try:
        with closing(_open(database(data))) as opened:
            opened.execute("BEGIN")
            settled, counted, in_slices = {}, {}, {}
            for batch_id, seq, count, sliced in opened.execute(_BY_BATCH).fetchall():
                if (name := names.get(batch_id)) is None:
                    continue
                rows = opened.execute("SELECT line FROM outcomes WHERE batch_seq = ?", (seq,))
                settled[name] = frozenset(line for (line,) in rows)
                counted[name], in_slices[name] = count, sliced
            return Look(time.monotonic(), settled, counted, in_slices)
    except sqlite3.Error:
        return None


def housekeeping_left(data: Path) -> dict[str, int]:
    """Count what the dispatcher's housekeeping has still to take, by table; empty ones are left out."""
    with closing(_open(database(data))) as opened:
        counts = {t: opened.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in _LEFT}
    return {table: count for table, count in counts.items() if count}


def undelivered(data: Path, due_by: float = _EVER) -> tuple[str, ...]:
    """List the events that are not delivered to all who want them; of those that wait, what was due by then."""
    with closing(_open(database(data))) as opened:
        return tuple(row[0] for row in opened.execute(_UNDELIVERED, {"due_by": int(due_by)}))


def leased_deliveries(data: Path, now: float) -> tuple[int, ...]:
    """List the deliveries that are under way, or were when their deliverer died. `now`: by its clock."""
    with closing(_open(database(data))) as opened:
        return tuple(row[0] for row in opened.execute(_LEASED, {"now": int(now)}))


def make_deliveries_due(data: Path) -> None:
    """Let those that wait be attempted now."""
    with closing(sqlite3.connect(database(data), timeout=5)) as opened, opened:
        opened.execute(_MAKE_DUE)


def damage(data: Path) -> tuple[str, ...]:
    """Ask `fsck` what is wrong with a data directory that nobody uses, or with a backup."""

    async def look() -> tuple[str, ...]:
        async with open_audit(database(data)) as audit:
            everything = Examination(audit, open_blobs(data / "blobs"), deep=True, at_work=())
            return tuple(
                [
                    f"{found.check} of {found.subject}: {found.what}"
                    async for found in everything.run()
                    if isinstance(found, Damage) and found.severity is Severity.WRONG
                ]
            )

    return asyncio.run(look())


def at_rest(data: Path) -> AtRest:
    """Check database and bytes against each other; exact only while nobody writes."""
    with closing(_open(database(data))) as opened:
        integrity = opened.execute("PRAGMA integrity_check").fetchone()[0]
        files = dict(opened.execute("SELECT blob_key, bytes FROM files"))
        batches = frozenset(row[0] for row in opened.execute("SELECT id FROM batches"))
        handled = tuple(Noted(*row) for row in opened.execute(_HANDLED))
    found = _bytes_found(data)
    missing = [
        f"{key}: {size} bytes in its row, {found.get(key, 'no such file')} on disk"
        for key, size in files.items()
        if found.get(key) != size
    ]
    return AtRest(
        integrity=integrity,
        missing=(*missing, *(_named(data) - set(files) - {_OWNER} - set(found))),
        unnamed=unnamed(data),
        temporary=tuple(sorted(key for key in found if key.startswith(_TEMPORARY))),
        rows_left=housekeeping_left(data),
        batches=batches,
        damage=damage(data),
        undelivered=undelivered(data),
        handled=handled,
    )


def unnamed(data: Path) -> tuple[str, ...]:
    """List the blobs that no row names and that are not known as garbage."""
    with closing(_open(database(data))) as opened:
        garbage = {row[0] for row in opened.execute("SELECT key FROM garbage")}
    left = set(_bytes_found(data)) - _named(data) - garbage
    return tuple(sorted(key for key in left if not key.startswith(_TEMPORARY)))


def unnoticed(data: Path) -> tuple[str, ...]:
    """List those of them that housekeeping has not noted yet: what it finds unnamed again later, it deletes."""
    with closing(_open(database(data))) as opened:
        noted = {row[0] for row in opened.execute("SELECT key FROM suspects")}
    return tuple(key for key in unnamed(data) if key not in noted)


def _named(data: Path) -> set[str]:
    with closing(_open(database(data))) as opened:
        files = {row[0] for row in opened.execute("SELECT blob_key FROM files")}
        published = {row[0] for row in opened.execute(_PUBLISHED)}
    return files | {f"results/{batch_id}/finished.idx" for batch_id in published} | {_OWNER}


def _bytes_found(data: Path) -> dict[str, int]:
    blobs = data / "blobs"
    found = {}
    for path in map(Path, walk(blobs)):
        with suppress(FileNotFoundError):  # deleted since
            found[path.relative_to(blobs).as_posix()] = path.stat().st_size
    return found


def _open(path):
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)
