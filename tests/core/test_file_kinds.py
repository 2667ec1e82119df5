"""What a file looks like that is no JSON Lines: named, with a conversion that works."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import zipfile

import pytest
from inputs import line

from batchline.jsonl.compression import zstd
from batchline.jsonl.file_kinds import HEAD_BYTES, file_kind

LINES = [json.loads(line(custom_id=f"é-{n}")) for n in range(40)]
JSONL = "".join(json.dumps(one) + "\n" for one in LINES).encode()


def zipped(data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jsonl", data)
    return packed.getvalue()


def table(separator):
    rows = ["custom_id,question", "1,What is this?", '2,"Well, this"']
    return "\n".join(row.replace(",", separator, 1) for row in rows).encode()


def begin(value):
    return repr(value[:12])


CONVERTED = {
    "gzip": (gzip.compress(JSONL), "gzip data"),
    "zstd": (zstd.compress(JSONL), "zstd data"),
    "zip": (zipped(JSONL), "a ZIP archive"),
    "bzip2": (bz2.compress(JSONL), "bzip2 data"),
    "xz": (lzma.compress(JSONL), "xz data"),
    "an array": (json.dumps(LINES).encode(), "a JSON array"),
    "a pretty array": (json.dumps(LINES, indent=2).encode(), "a JSON array"),
    "a line of an array each": (
        b"[\n" + JSONL.replace(b"}\n", b"},\n")[:-2] + b"\n]",
        "a JSON array",
    ),
    "pretty objects": (
        "\n".join(json.dumps(one, indent=4) for one in LINES).encode(),
        "JSON over several lines",
    ),
    "a brace on a line of its own": (b"{\n" + JSONL[1:], "JSON over several lines"),
}


@pytest.mark.parametrize(("data", "name"), CONVERTED.values(), ids=CONVERTED)
def test_the_conversion_that_is_named_gives_json_lines(tmp_path, data, name):
    """Run as it is written."""
    kind = file_kind(b"\xef\xbb\xbf\r\n" * (b"{[".find(data[:1]) >= 0) + data)

    assert kind is not None
    assert kind.name.startswith(name)
    command = kind.remedy.rpartition(": ")[2]
    if not shutil.which(command.split()[0]):
        pytest.skip(f"{command.split()[0]} is not installed")
    (tmp_path / "OLD").write_bytes(data)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert [json.loads(text) for text in (tmp_path / "NEW").read_bytes().splitlines()] == LINES


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<!DOCTYPE html>\n<html>", "a page of HTML"),
        (b"\n <html><body>502", "a page of HTML"),
        (b'<?xml version="1.0"?>', "a page of HTML or XML"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"{'custom_id': '1', 'body': None}\n", "Python's print of a dict"),
        (table(","), "a table (CSV)"),
        (table(";"), "a table (CSV)"),
        (table("\t"), "a table (CSV)"),
        (b'"custom id","method"\r\n"1","POST"\r\n', "a table (CSV)"),
        (b"[]", "a JSON array"),
        (b'[{"x": "' + b"y" * 9000 + b'"}]', "a JSON array"),
        (b'{\n "x": "' + b"y" * 9000 + b'"}', "JSON over several lines"),
        (b'{\n "x": "' + "é".encode() * 9000, "JSON over several lines"),
    ],
    ids=begin,
)
def test_a_file_is_told_by_how_it_begins(data, name):
    """However it goes on."""
    kind = file_kind(data)

    assert kind is not None
    assert kind.name.startswith(name)
    assert str(kind) == f"The file looks like {kind.name}. {kind.remedy}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        JSONL,
        b"\xef\xbb\xbf" + JSONL,
        b"{",
        b"{\n",
        line()[:-5],
        line()[:-5] + b"\n" + line(),
        b"{\n" + line(),
        b"[]\n" + line(),
        b"[1]\n[2]\n",
        b'{"x": "' + b"y" * 9000 + b'"}\n' + line(),
        b"nonsense",
        b"hello, world",
        b"hello, world\nand so on",
        b"7\n8",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"PK",
        b"caf\xe9",
        b"\x00" * 9,
    ],
    ids=begin,
)
def test_what_may_be_json_lines_or_anything_is_left_alone(data):
    """A line that is broken is that line's fault."""
    assert file_kind(data) is None


def test_more_than_the_head_changes_nothing():
    """So much is kept of a file."""
    for data, _ in CONVERTED.values():
        assert file_kind(data) == file_kind(data[:HEAD_BYTES])
