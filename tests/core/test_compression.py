"""Unpacking of input that may mean harm: whole streams only, bounded steps."""

from __future__ import annotations

import gzip
import itertools
import os
import random

import pytest

from batchline.errors import Invalid, UnsupportedEncoding
from batchline.jsonl.compression import PIECE_BYTES, Coding, Unpacker, coding_of, split_ending, zstd

TEXT = b'{"custom_id":"a","method":"POST"}\n' * 30_000
PACK = {Coding.GZIP: gzip.compress, Coding.ZSTD: zstd.compress}
WIDE = {zstd.CompressionParameter.window_log: 24}

each_coding = pytest.mark.parametrize("coding", Coding)


def unpacked(coding, data, *, step=1 << 18):
    unpacker = Unpacker(coding, what="the file")
    pieces = []
    for start in range(0, len(data), step):
        pieces += unpacker.feed(data[start : start + step])
    unpacker.finish()
    return pieces


@each_coding
@pytest.mark.parametrize("content", [b"", b"x", TEXT, os.urandom(700_000)], ids=len)
@pytest.mark.parametrize("step", [1000, 1 << 18])
def test_what_was_packed_comes_back(coding, content, step):
    """However the stream is cut into chunks."""
    assert b"".join(unpacked(coding, PACK[coding](content), step=step)) == content


@each_coding
def test_a_bomb_comes_in_small_pieces(coding):
    """100 MB out of a few kilobytes never stand in memory at once."""
    bomb = PACK[coding](bytes(100_000_000))

    sizes = [len(piece) for piece in unpacked(coding, bomb)]

    assert sum(sizes) == 100_000_000
    assert max(sizes) <= PIECE_BYTES


@each_coding
def test_members_one_after_another_are_one_stream(coding):
    """As `cat a.gz b.gz` and parallel compressors write them, empty ones among them."""
    cuts = [0, 5, 5, 100_000, 500_000, len(TEXT)]
    pieces = [TEXT[a:b] for a, b in itertools.pairwise(cuts)]

    data = b"".join(PACK[coding](piece) for piece in pieces)

    assert b"".join(unpacked(coding, data, step=777)) == TEXT


@each_coding
def test_every_cut_is_noticed(coding):
    """A stream that lacks its last bytes, or all of them, is not the whole."""
    data = PACK[coding](TEXT)

    for kept in (0, 1, 5, len(data) // 2, len(data) - 4, len(data) - 1):
        with pytest.raises(Invalid, match=f"The {coding} data of the file is cut short"):
            unpacked(coding, data[:kept])


@each_coding
@pytest.mark.parametrize("tail", [b"\0", b"junk", b"\n" * 100, bytes(20_000)], ids=len)
def test_whatever_follows_the_end_is_refused(coding, tail):
    """What is no further member is no part of the file."""
    with pytest.raises(Invalid, match=r"followed by something else|cut short") as caught:
        unpacked(coding, PACK[coding](TEXT) + tail)

    assert caught.value.code == "invalid_compressed_data"


@each_coding
def test_damage_is_noticed(coding):
    """One flipped bit anywhere is never passed on as the whole."""
    chance = random.Random(7)
    whole = zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1})
    data = whole if coding is Coding.ZSTD else gzip.compress(TEXT)

    for _ in range(100):
        damaged = bytearray(data)
        # The first bytes of a gzip header hold a time and a system that no checksum covers.
        damaged[chance.randrange(10, len(data))] ^= 1 << chance.randrange(8)
        with pytest.raises(Invalid):
            unpacked(coding, bytes(damaged))


@each_coding
def test_something_else_is_named_as_such(coding):
    """A plain file under a compressed name is the most likely mistake."""
    with pytest.raises(Invalid, match=f"is damaged, or no {coding} at all"):
        unpacked(coding, TEXT)


def test_a_wide_zstd_window_is_refused():
    """A window of 16 MiB would cost each upload as much memory."""
    with pytest.raises(Invalid, match="too large a window: at most 8 MiB"):
        unpacked(Coding.ZSTD, zstd.compress(TEXT * 20, options=WIDE))


def test_the_widest_zstd_window_that_is_allowed():
    """8 MiB, as zstd's level 19 takes."""
    content = os.urandom(9_000_000)
    packed = zstd.compress(content, options={zstd.CompressionParameter.window_log: 23})

    assert b"".join(unpacked(Coding.ZSTD, packed)) == content


@each_coding
def test_endless_tiny_members_are_refused(coding):
    """They cost time and give nothing."""
    with pytest.raises(Invalid, match="too many tiny members"):
        unpacked(coding, PACK[coding](b"") * 20_000)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        (" GZIP ", Coding.GZIP),
        ("x-gzip", Coding.GZIP),
        ("zstd", Coding.ZSTD),
    ],
)
def test_codings_by_header(header, coding):
    """Names are those of RFC 9110, in any case."""
    assert coding_of(header) == coding


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, zstd", "gzip, gzip", "*", "zst"])
def test_other_codings_are_refused_with_those_that_are_taken(header):
    """The message names what was sent and what may be."""
    with pytest.raises(UnsupportedEncoding, match=r"Supported values are: 'gzip' and 'zstd'") as e:
        coding_of(header)
    assert header in e.value.message


@pytest.mark.parametrize(
    ("name", "stem", "coding"),
    [
        ("a.jsonl.gz", "a.jsonl", Coding.GZIP),
        ("a.JSONL.ZST", "a.JSONL", Coding.ZSTD),
        (".gz", "", Coding.GZIP),
        ("gz", "gz", None),
        ("a.gz.txt", "a.gz.txt", None),
        ("upload", "upload", None),
        ("", "", None),
    ],
)
def test_codings_by_name(name, stem, coding):
    """The ending tells, and goes."""
    assert split_ending(name) == (stem, coding)
