"""Databases as earlier versions left them: their schema, and rows such as they wrote.

One description of everything a data directory can hold; of it a schema takes the tables and columns that
it had. The lines of a batch are those of `inputs.requests`, in slices of four.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from inputs import requests

from batchline.blobs.keys import file_key, result_key, segments_prefix
from batchline.jsonl.result_lines import answer_record, error_record
from batchline.model import FleetReport, request_id
from batchline.store import repo
from batchline.store.database.schema import migrations

SCHEMAS = [number for number, _ in migrations()]
NOW = 1_800_000_000
LINES = 10
ENDED = {"completed", "failed", "expired", "cancelled"}
CONTENT = requests(LINES)


def old_database(path, schema, rows=()):
    """Make the database that the version with this schema had; yields nothing, closes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        for number, text in migrations():
            if number <= schema:
                db.executescript(text)
        db.execute(f"PRAGMA user_version = {schema}")
        for table, row in rows:
            columns = {column[1] for column in db.execute(f"PRAGMA table_info({table})")}
            kept = {name: value for name, value in row.items() if name in columns}
            if kept:
                marks = ", ".join(f":{name}" for name in kept)
                db.execute(f"REPLACE INTO {table} ({', '.join(kept)}) VALUES ({marks})", kept)


def dump(path):
    """Everything in a database, as text."""
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        return version, "\n".join(db.iterdump())


class Past:
    """A data directory in the making: its rows and blobs."""

    def __init__(self, blobs):
        self.blobs = blobs
        self.rows = [
            ("tokens", {"id": 1, "last": 57}),
            ("roles", {"role": "dispatch", "holder": "local/dead", "held_until_ms": NOW * 1000}),
            ("reports", {"id": 1, "at": NOW, "body": repo.report_text(FleetReport(NOW))}),
            ("garbage", {"key": "files/00/file-garbage"}),
            ("suspects", {"key": "files/00/lost", "first_seen_at": NOW, "last_seen_at": NOW}),
            ("uploads", upload("upload_open")),
            ("upload_parts", part("upload_open")),
            ("idempotency_keys", idempotency_key("batch_completed")),
            ("webhook_endpoints", endpoint("we_a")),
            ("events", event("evt_a", "batch_completed")),
            ("deliveries", delivery("evt_a", "we_a")),
        ]
        self.batches = {}
        self.segments = 0

    async def fill(self):
        """Have a batch in every state, a paused one too."""
        await self.put(file_key("file-in"), CONTENT)
        self.rows.append(("files", file("file-in", file_key("file-in"), len(CONTENT))))
        for status in ENDED:
            await self.ended(status)
        self.batch("validating", slices=1)
        await self.batch_with_lines("in_progress", done=5, leased=True)
        await self.batch_with_lines("paused", done=2)
        await self.batch_with_lines("finalizing", done=LINES)
        await self.batch_with_lines("cancelling", done=4)

    async def ended(self, status):
        output = {}
        if status == "completed":
            key = result_key("batch_completed", "output")
            await self.put(key, b"{}\n")
            self.rows.append(("files", file("file-out", key, 3, purpose="batch_output")))
            output = {"output_file_id": "file-out", "total": LINES, "completed": LINES}
            output |= {"on_faults": "fail_lines", "requests": LINES}
        if status == "failed":
            faults = [{"code": "x", "message": "bad", "line": 1, "param": None}]
            output = {"faults": json.dumps(faults)}
        self.batch(status, **output)

    def batch(self, name, *, slices=0, **fields):
        """Note a batch's row, and slices of a torn admission."""
        seq = len(self.batches) + 1
        status = {"paused": "in_progress"}.get(name, name)
        stamps = {"paused": "in_progress"}.get(name, name)
        row = {
            "seq": seq,
            "id": f"batch_{name}",
            "status": status,
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-in",
            "input_key": file_key("file-in"),
            "completion_window": "24h",
            "created_at": NOW,
            "expires_at": 2 * NOW,
            "metadata": json.dumps({"name": name}),
            **fields,
        }
        if status != "validating":
            row["in_progress_at"] = NOW + 1
            row[f"{stamps}_at"] = NOW + 2
        if status == "completed":
            row["finalizing_at"] = NOW + 2
        if name == "paused":
            row["paused_at"] = NOW + 3
        self.batches[name] = row
        self.rows.append(("batches", row))
        for first in range(0, slices * 4, 4):
            self.rows.append(("slices", self.slice(seq, first)))
        return row

    async def batch_with_lines(self, name, *, done, leased=False):
        """Note a batch whose first lines are settled: two a segment, every fifth line failed."""
        failed = done // 5
        row = self.batch(name, total=LINES, completed=done - failed, failed=failed)
        for first in range(0, done, 2):
            await self.segment(row, range(first, min(first + 2, done)))
        open_state = {"cancelling": "cancelled"}.get(name, "open")
        for first in range(0, LINES, 4):
            piece = self.slice(row["seq"], first)
            piece["settled"] = max(0, min(done - first, piece["count"]))
            is_done = piece["settled"] == piece["count"]
            piece["state"] = "done" if is_done else open_state
            piece["token"] = 57
            if leased and not is_done:
                lease = {"state": "leased", "holder": "local/dead"}
                piece |= lease | {"leased_until_ms": 2 * NOW * 1000}
            self.rows.append(("slices", piece))

    async def segment(self, batch, lines):
        """Store results and note their rows."""
        self.segments += 1
        records = [(line, record(batch["id"], line)) for line in lines]
        ref = await self.blobs.put_segment(segments_prefix(batch["id"]), records)
        row = {
            "id": self.segments,
            "batch_seq": batch["seq"],
            "key": ref.key,
            "offset_bytes": ref.offset_bytes,
            "length_bytes": ref.length_bytes,
            "lines_before": lines[0],
            "lines": len(lines),
        }
        self.rows.append(("segments", row))
        for line in lines:
            kind = 2 if line % 5 == 4 else 1
            outcome = {"batch_seq": batch["seq"], "line": line, "kind": kind}
            self.rows.append(("outcomes", outcome | {"segment": self.segments}))

    def slice(self, batch_seq, first):
        lines = CONTENT.splitlines(keepends=True)
        here = lines[first : first + 4]
        return {
            "batch_seq": batch_seq,
            "first": first,
            "count": len(here),
            "offset_bytes": sum(map(len, lines[:first])),
            "length_bytes": sum(map(len, here)),
        }

    async def put(self, key, data):
        writer = self.blobs.create(key)
        await writer.write(data)
        await writer.commit()


def record(batch_id, line):
    name = request_id(batch_id, line)
    if line % 5 == 4:
        return error_record(name, f"id-{line}", code="old", message="failed long ago")
    return answer_record(name, f"id-{line}", status=200, upstream_id="u", body=b'{"old": true}')


def file(file_id, key, size_bytes, purpose="batch"):
    row = {"id": file_id, "bytes": size_bytes, "created_at": NOW, "filename": "f.jsonl"}
    return row | {"purpose": purpose, "blob_key": key}


def upload(upload_id):
    row = {"id": upload_id, "status": "pending", "bytes": 3, "created_at": NOW}
    return row | {"expires_at": 2 * NOW, "filename": "u.jsonl", "purpose": "batch"}


def part(upload_id):
    return {"upload_id": upload_id, "id": "part_1", "bytes": 3, "created_at": NOW}


def idempotency_key(batch_id):
    row = {"key": "k", "body_digest": b"d", "batch_id": batch_id}
    return row | {"expires_at": 2 * NOW}


def endpoint(endpoint_id):
    url = {"url": "https://a.example/hook", "origin": "https://a.example:443"}
    row = {"seq": 1, "id": endpoint_id, "name": "a", "event_types": '["batch.completed"]'}
    stamps = {"created_at": NOW, "updated_at": NOW}
    return row | url | stamps | {"secret": "whsec_" + "a" * 32, "after_event": 0}


def event(event_id, batch_id):
    row = {"seq": 1, "id": event_id, "type": "batch.completed", "created_at": NOW}
    return row | {"batch_id": batch_id, "is_addressed": 1}


def delivery(event_id, endpoint_id):
    url = {"url": "https://a.example/hook", "origin": "https://a.example:443"}
    row = {"number": 1, "event_id": event_id, "ask": "endpoint", "endpoint_id": endpoint_id}
    return row | url | {"state": "pending", "attempts": 3, "due_at": NOW, "since": NOW}
