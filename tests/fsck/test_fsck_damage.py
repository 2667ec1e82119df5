"""Damage of each kind, done by hand to a real directory: found, named and repaired."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

SEQ = "batch_seq = (SELECT seq FROM batches WHERE status = 'in_progress')"


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))


def cut(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def blob_of(directory, file_column, name):
    file_id = directory.batch(name)[file_column]
    ((key,),) = directory.sql("SELECT blob_key FROM files WHERE id = ?", file_id)
    return directory.blob(key)


def rewrite(directory, edit):
    """Let `edit` change the lines of the completed batch's output, its row telling the new size."""
    path = blob_of(directory, "output_file_id", "completed")
    lines = edit(path.read_bytes().splitlines(keepends=True))
    path.write_bytes(b"".join(lines))
    output = directory.batch("completed")["output_file_id"]
    directory.sql("UPDATE files SET bytes = ? WHERE id = ?", path.stat().st_size, output)


def break_index(directory):
    """Insert a row while the index looks the other way."""
    path = directory.data / "batchline.sqlite3"
    change = "UPDATE sqlite_schema SET sql = {} WHERE name = 'idempotency_keys_by_expiry'"
    for definition in ("sql || ' WHERE 0'", "replace(sql, ' WHERE 0', '')"):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(change.format(definition))
        if "||" in definition:
            directory.sql("INSERT INTO idempotency_keys VALUES ('k', x'00', 'b', 9999999999)")


def statement(text):
    return lambda directory: directory.sql(text)


ROWS = {
    "a slice counts too many results": (
        statement(f"UPDATE slices SET settled = settled + 1 WHERE {SEQ} AND first = 0"),
        "slices",
    ),
    "a slice is done without its results": (
        statement(
            f"UPDATE slices SET state = 'done' WHERE {SEQ} "
            f"AND first = (SELECT max(first) FROM slices WHERE {SEQ})"
        ),
        "slices",
    ),
    "a slice is cancelled while the batch runs": (
        statement(
            f"UPDATE slices SET state = 'cancelled' WHERE {SEQ} "
            f"AND first = (SELECT max(first) FROM slices WHERE {SEQ})"
        ),
        "slices",
    ),
    "a slice is gone": (
        statement(f"DELETE FROM slices WHERE {SEQ} AND first = 64"),
        "slices",
    ),
    "two slices overlap": (
        statement(f"UPDATE slices SET count = count + 1 WHERE {SEQ} AND first = 64"),
        "slices",
    ),
    "all slices are gone": (statement(f"DELETE FROM slices WHERE {SEQ}"), "slices"),
    "the batch counts too little": (
        statement("UPDATE batches SET completed = completed - 1 WHERE status = 'in_progress'"),
        "counts",
    ),
    "a segment counts too little": (
        statement(f"UPDATE segments SET lines = lines - 1 WHERE {SEQ}"),
        "segments",
    ),
    "a result is in no segment": (
        statement(
            f"UPDATE outcomes SET segment = 99999 WHERE {SEQ} "
            f"AND line = (SELECT min(line) FROM outcomes WHERE {SEQ})"
        ),
        "results",
    ),
    "a result is of no kind": (
        statement(
            f"UPDATE outcomes SET kind = 7 WHERE {SEQ} "
            f"AND line = (SELECT min(line) FROM outcomes WHERE {SEQ})"
        ),
        "results",
    ),
    "a result is lost": (
        statement(
            f"DELETE FROM outcomes WHERE {SEQ} "
            f"AND line = (SELECT min(line) FROM outcomes WHERE {SEQ})"
        ),
        "counts",
    ),
    "rows lead nowhere": (
        statement("INSERT INTO outcomes (batch_seq, line, kind, segment) VALUES (777, 0, 1, 1)"),
        "rows",
    ),
    "tokens would be given out twice": (statement("UPDATE tokens SET last = 0"), "tokens"),
    "garbage is no blob": (
        statement("INSERT INTO garbage (key) VALUES ('../../etc/passwd')"),
        "garbage",
    ),
    "an index lacks a row": (break_index, "database"),
}


@pytest.mark.parametrize(("damage", "check"), ROWS.values(), ids=ROWS)
def test_damaged_rows_are_found_and_mended(directory, damage, check):
    """By reading everything, and without; afterwards nothing is wrong."""
    damage(directory)

    checks = {found for found, _ in directory.found()}
    assert check in checks
    if check != "database":  # indexes are left out
        assert check in {found for found, _ in directory.found("--fast")}
    assert directory.repaired()


def last_segment_flipped(directory):
    _, path, offset, length = directory.segments()[-1]
    flip(path, offset + length // 3)


def segments_cut(directory):
    _, path, offset, length = directory.segments()[-1]
    cut(path, offset + length - 1)


def segments_gone(directory):
    for path in {path for _, path, _, _ in directory.segments()}:
        path.unlink()


SEGMENTS = {
    "a byte of a segment is wrong": (last_segment_flipped, False),
    "a segment is cut short": (segments_cut, True),
    "a segment's file is gone": (segments_gone, True),
}


@pytest.mark.parametrize(("damage", "seen_fast"), SEGMENTS.values(), ids=SEGMENTS)
def test_lines_of_damaged_segments_run_again(directory, damage, seen_fast):
    """Their results are dropped, their slices open, the counts go down."""
    before = directory.batch("running")
    damage(directory)

    assert directory.found() == [("segments", directory.ids["running"])]
    assert directory.found("--fast") == ([("segments", directory.ids["running"])] * seen_fast)
    directory.repaired()

    after = directory.batch("running")
    assert after["completed"] < before["completed"]
    ((outcomes,),) = directory.sql(f"SELECT count(*) FROM outcomes WHERE {SEQ}")
    assert outcomes == after["completed"] + after["failed"]
    assert directory.sql(f"SELECT 1 FROM slices WHERE {SEQ} AND state = 'open'")


def test_a_lost_input_ends_its_batch_with_the_reason(directory):
    """It could never end well; the file is forgotten too."""
    blob_of(directory, "input_file_id", "running").unlink()

    running = directory.batch("running")
    assert set(directory.found()) == {
        ("input", running["id"]),
        ("files", running["input_file_id"]),
    }
    directory.repaired()

    after = directory.batch("running")
    assert after["status"] == "failed"
    assert "The bytes of its input file" in after["faults"]


def test_a_file_with_other_bytes_is_forgotten_and_kept_aside(directory):
    """What is left of it lies in lost+found."""
    path = blob_of(directory, "output_file_id", "completed")
    output = directory.batch("completed")["output_file_id"]
    cut(path, 1000)
    left = path.read_bytes()

    assert ("files", output) in directory.found("--fast")
    directory.repaired()

    assert (directory.data / "lost+found" / output).read_bytes() == left
    assert not directory.sql("SELECT 1 FROM files WHERE id = ?", output)


def test_an_upload_that_lost_a_part_is_cancelled(directory):
    """It could not be completed any more."""
    for part in (directory.data / "blobs" / "uploads" / directory.ids["upload"]).iterdir():
        part.unlink()

    assert directory.found("--fast") == [("uploads", directory.ids["upload"])]
    directory.repaired()

    assert directory.sql("SELECT status FROM uploads") == [("cancelled",)]


RESULTS = {
    "a line is missing": (lambda lines: lines[1:], "its counts say"),
    "a line is there twice": (lambda lines: [lines[0], *lines], "two results"),
    "lines are out of order": (lambda lines: [lines[1], lines[0], *lines[2:]], "out of order"),
    "a line is torn": (lambda lines: [lines[0][:50] + b"\n", *lines[1:]], "no result lines"),
    "an id is another": (
        lambda lines: [lines[0].replace(b'"id-0"', b'"id-1"'), *lines[1:]],
        "another custom_id",
    ),
}


@pytest.mark.parametrize(("edit", "says"), RESULTS.values(), ids=RESULTS)
def test_results_that_do_not_answer_each_line_once_are_reported(directory, edit, says):
    """Nothing can bring them back: the report says what is lost, and repair leaves them alone."""
    rewrite(directory, edit)

    code, report = directory.fsck("--repair")

    assert code == 1
    wrong = [f for f in report["findings"] if f["level"] == "wrong"]
    assert {f["subject"] for f in wrong} == {directory.ids["completed"]}
    assert says in wrong[0]["detail"]
    assert not wrong[0]["can_repair"]
    assert "backup" in wrong[0]["remedy"]


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: flip(p, 12)], ids=["gone", "bad"]
)
def test_the_index_of_a_published_batch_is_made_anew(directory, damage):
    """The files hold all it takes."""
    damage(directory.blob(f"results/{directory.ids['cancelled']}/finished.idx"))

    assert directory.found() == [("results", directory.ids["cancelled"])]
    assert directory.repaired()


def test_what_crashes_leave_behind_is_noted_and_deleted(directory):
    """Blobs that no row names, temporary files."""
    orphan = directory.blob("files/zz/file-orphan")
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    temporary = directory.blob("tmp/dead")
    temporary.write_bytes(b"x")

    assert directory.found() == []
    noted = directory.found(level="warning")
    assert {("orphans", "blobs"), ("temporary", "blobs/tmp")} <= set(noted)
    directory.repaired()

    assert not orphan.exists()
    assert not temporary.exists()


def test_nothing_is_deleted_beside_a_database_that_the_bytes_do_not_belong_to(directory):
    """It cannot tell which of them are needed."""
    orphan = directory.blob("files/zz/file-orphan")
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    directory.sql("UPDATE identity SET id = 'another'")

    code, report = directory.fsck("--repair")

    assert (code, [f["check"] for f in report["findings"] if f["level"] == "wrong"]) == (
        1,
        ["owner"],
    )
    assert orphan.exists()


def test_a_file_that_is_no_database_is_a_finding(directory):
    """With what to do, and without a traceback."""
    directory.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    (directory.data / "batchline.sqlite3").write_bytes(b"nonsense" * 1000)

    code, report = directory.fsck("--repair")

    assert code == 1
    assert "not a database" in report["findings"][-1]["detail"]


def test_a_destroyed_page_is_a_finding_that_repair_does_not_hide(directory):
    """Rows are gone: only a backup has them."""
    directory.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = directory.data / "batchline.sqlite3"
    ((page,),) = directory.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'outcomes'")
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)

    code, report = directory.fsck("--repair")

    assert code == 1
    assert "database" in {f["check"] for f in report["findings"] if f["level"] == "wrong"}
