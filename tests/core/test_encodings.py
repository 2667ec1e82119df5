"""UTF-16 and UTF-32 are told by their first bytes, and nothing else is taken for them."""

from __future__ import annotations

import codecs
import subprocess

import pytest
from inputs import line

from batchline.encodings import HEAD_BYTES, foreign_encoding, not_utf8

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
