"""UTF-16 and UTF-32 are told by their first bytes, and nothing else is taken for them."""

from __future__ import annotations

import codecs
import shutil
import subprocess

import pytest
from inputs import line

from batchline.jsonl.encodings import HEAD_BYTES, foreign_encoding, misplaced_mark, not_utf8

FOREIGN = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
MARKS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def name(codec):
    return codec.upper().replace("-LE", "LE").replace("-BE", "BE")


@pytest.mark.parametrize("codec", FOREIGN)
@pytest.mark.parametrize("start", ["", "\n", " \r\n", "\t", "[", "1"])
@pytest.mark.parametrize("is_marked", [True, False])
def test_it_is_told_by_its_mark_or_its_zeros(codec, start, is_marked):
    """Whatever ASCII it begins with; without a mark as well."""
    text = (start + line().decode()).encode(codec)

    head = ((MARKS[codec] if is_marked else b"") + text)[:HEAD_BYTES]

    assert foreign_encoding(head) == name(codec)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{\x00",
        b"{}",
        b"\xef\xbb\xbf{",
        b"\xef\xbb\xbf",
        line(),
        b"\n" * 9,
        b"\x00" * 9,
        b"{\x00\x00\x00"[:3],
        b"{\x00}\n",
        b"\x1f\x8b\x08\x00",
        b"\xff\xd8\xff\xe0",
        b"\xfe",
        "é".encode("latin-1"),
    ],
)
def test_anything_else_is_left_to_its_lines(text):
    """UTF-8 with and without a mark, too little to tell, other files."""
    assert foreign_encoding(text[:HEAD_BYTES]) is None


@pytest.mark.parametrize("codec", FOREIGN)
def test_the_remedy_mends_it(codec):
    """The command that is named gives the UTF-8 that was meant; a mark is allowed there."""
    text = line()
    command = not_utf8(name(codec)).partition("iconv ")[2].removesuffix(" OLD > NEW")

    for mark in (b"", MARKS[codec]):
        foreign = mark + text.decode().encode(codec)
        done = subprocess.run(
            ["iconv", *command.split()], input=foreign, capture_output=True, check=True
        )
        assert done.stdout.removeprefix(codecs.BOM_UTF8) == text


ONE, OTHER = line(custom_id="1"), line(custom_id="2")
MARKED = {
    "joined with a line end": (b"%s\n" + codecs.BOM_UTF8 + b"%s\n", "It begins with"),
    "twice at the start": (codecs.BOM_UTF8 * 2 + b"%s\n%s\n", "It begins with"),
    "joined without": (b"%s" + codecs.BOM_UTF8 + b"%s\n", "It holds"),
    "joined with a blank": (b"%s \r" + codecs.BOM_UTF8 + b" %s\n", "It holds"),
}


@pytest.mark.skipif(not shutil.which("perl"), reason="perl is not installed")
@pytest.mark.parametrize(("form", "says"), MARKED.values(), ids=MARKED)
def test_a_mark_inside_the_file_is_named_and_removed(tmp_path, form, says):
    """By the command that is named: both lines are there then."""
    data = form % (ONE, OTHER)
    bad = next(text for text in data.removeprefix(codecs.BOM_UTF8).split(b"\n") if b"\xef" in text)

    told = misplaced_mark(bad)

    assert told is not None
    assert told.startswith(f"{says} a byte order mark (the bytes EF BB BF)")
    (tmp_path / "OLD").write_bytes(data)
    command = "perl" + told.partition(": perl")[2]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert [one.strip() for one in (tmp_path / "NEW").read_bytes().splitlines()] == [ONE, OTHER]


def test_a_mark_of_another_encoding_inside_the_file_is_named():
    """A file in UTF-16 was joined to one in UTF-8."""
    told = misplaced_mark(line().decode().encode("utf-16"))

    assert told == (
        "It begins with the byte order mark of UTF-16LE: convert each file before they are joined."
    )


@pytest.mark.parametrize("text", [b"nonsense", b'{"x": "\xef\xbb\xbf"', b"{\xef", b"", b"{}{}"])
def test_a_line_without_a_mark_before_an_object_is_left_alone(text):
    """Inside a string it is a character like others."""
    assert misplaced_mark(text) is None
