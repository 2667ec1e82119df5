"""Bounds of what is logged about requests."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from aiohttp.http_exceptions import BadStatusLine

from batchline.process.service import set_up_logging
from batchline.serving import request_log
from batchline.serving.request_log import (
    LINE_BYTES,
    LINES_A_SECOND,
    REQUESTS,
    bounded_request_log,
    fitting,
)

HOSTILE = {
    "long": "A" * 8000,
    "control characters": "\r\n2026-01-01 ERROR gateway: forged \x1b[2J\x00\x7f" * 200,
    "backslashes": "\\" * 8000,
    "quotes": '"' * 8000,
    "not ASCII": "\u202eä\U0001f600\udcff" * 2000,
}


@pytest.fixture(params=[False, True], ids=["text", "json"])
def written(request, monkeypatch):
    """What a process writes, in both of its formats."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    set_up_logging("INFO", as_json=request.param)
    yield lambda: stream.getvalue().encode().splitlines(keepends=True)
    root.handlers[:], root.level = before, level


@pytest.fixture
def counted():
    return []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_a_line_is_short_and_one_line(written, clock, counted, text):
    """200 bytes with all that stands before it, nothing that draws on a terminal or begins a line."""
    async with bounded_request_log(lambda: counted.append(1), clock=clock):
        logging.getLogger(REQUESTS).warning("refused: %s", text)

    (line,) = written()
    assert len(line) <= LINE_BYTES
    assert line.isascii()
    assert re.fullmatch(rb"[ -~]*\n", line)
    assert b"refused: " in line
    assert len(line) > LINE_BYTES / 2, "what fits is kept"


async def test_ten_lines_a_second_are_kept_of_all_kinds_together(written, clock, counted):
    """The rest is counted, and one line says how many there were."""
    loggers = [logging.getLogger(name) for name in (REQUESTS, "aiohttp.server", "asyncio")]
    async with bounded_request_log(lambda: counted.append(1), clock=clock):
        for number in range(1000):
            loggers[number % 3].error("number %d", number)
        first = len(written())
        clock.advance(1.0)
        for number in range(1000):
            loggers[number % 3].error("number %d", number)
        second = len(written())

    assert (first, second) == (LINES_A_SECOND, 2 * LINES_A_SECOND)
    assert len(counted) == 1980
    assert b"1980 more lines about requests were not logged" in written()[-1]


async def test_no_second_has_more_than_ten_lines(written, clock, counted):
    """Wherever the second begins."""
    at = []
    async with bounded_request_log(lambda: None, clock=clock):
        for _ in range(300):
            before = len(written())
            logging.getLogger(REQUESTS).info("one")
            at += [clock.at] * (len(written()) - before)
            clock.advance(0.03)

    assert len(at) > 80
    assert all(late - early >= 1.0 for early, late in zip(at, at[10:], strict=False))


async def test_what_is_missing_is_said_while_the_flood_lasts(written, clock, monkeypatch):
    """Nobody waits for the end of the process to learn of it."""
    allowance = request_log._Allowance(lambda: None, clock)
    for _ in range(LINES_A_SECOND + 5):
        allowance.takes(logging.makeLogRecord({}))

    allowance.tell()
    allowance.tell()

    assert [b"5 more lines" in line for line in written()] == [True]


async def test_lines_about_batches_pass_untouched(written, clock, counted):
    """No client can send those at will."""
    text = "batch " + "x" * 1000
    async with bounded_request_log(lambda: counted.append(1), clock=clock):
        for _ in range(50):
            logging.getLogger("dispatcher.batches.publish").info(text)

    assert len(written()) == 50
    assert all(text.encode() in line for line in written())
    assert counted == []


def broken(words):
    raise RuntimeError(words)


async def test_a_fault_has_its_traceback_once_a_minute(written, clock, request):
    """Where, but not what the exception says: that may be the client's, and endless."""
    async with bounded_request_log(lambda: None, clock=clock):
        for wait_s in (0, 1, 58, 2):
            clock.advance(wait_s)
            try:
                broken("\x1bsecret" * 1000)
            except RuntimeError:
                logging.getLogger(REQUESTS).exception("it failed")

    lines = written()
    text = b"".join(lines).decode()
    assert text.count("it failed: RuntimeError: \\") == 4
    assert text.count("in broken") == 2
    assert text.count("secret") < 100
    assert "\x1b" not in text
    if lines[0].startswith(b"{"):
        assert ["traceback" in json.loads(line) for line in lines] == [True, False, False, True]


async def test_what_is_no_http_has_no_traceback(written, clock):
    """There is nothing to find in our code."""
    async with bounded_request_log(lambda: None, clock=clock):
        logging.getLogger("aiohttp.server").error("broken", exc_info=BadStatusLine("A" * 8000))

    (line,) = written()
    assert b"broken: BadStatusLine" in line
    assert len(line) <= LINE_BYTES


async def test_the_bound_ends_with_the_process_that_asked_for_it(written, clock):
    """Nothing is left on the handlers."""
    async with bounded_request_log(lambda: None, clock=clock):
        pass

    logging.getLogger(REQUESTS).warning("x" * 500)

    assert len(written()[0]) > 500


@pytest.mark.parametrize("room", [0, 1, 5, 100])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_fits_fits_in_both_formats(text, room):
    """An escape is never cut in two."""
    kept = fitting(text, room)

    assert len(kept.encode()) <= room
    assert len(json.dumps(kept)) - 2 <= room
    assert (
        not re.search(r"(?<!\\)(\\\\)*\\(x.?|u.{0,3}|U.{0,7})$", kept)
        or text == HOSTILE["backslashes"]
    )
