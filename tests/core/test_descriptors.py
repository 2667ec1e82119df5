"""File descriptors: that they have run out is recognised, named, and said once."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket

import pytest
from shortage import none_left
from waiting import until

from batchline.process.descriptors import Alarm, are_out, is_one_left, told, watched
from batchline.process.disk_errors import disk_refusal


def caused_by(cause):
    """Return an error as a library makes it of another one."""
    exc = RuntimeError("cannot connect")
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_it_is_recognised_however_deep_it_lies(number):
    """Libraries wrap what the system says."""
    cause = OSError(number, os.strerror(number))

    assert are_out(cause)
    assert are_out(caused_by(cause))


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOSPC])
def test_other_errors_are_something_else(number):
    """A server that refuses is not our shortage."""
    assert not are_out(caused_by(OSError(number, os.strerror(number))))


def test_a_name_that_cannot_be_looked_up_is_our_shortage_only_while_there_is_one():
    """Looking up a name opens files, and its error does not say that it could not."""
    unknown = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    assert not are_out(unknown)
    with none_left():
        assert are_out(unknown)


def test_a_shortage_is_seen_and_passes():
    """As soon as one is free again, all is well."""
    with none_left():
        assert not is_one_left()
    assert is_one_left()


def test_what_is_said_names_the_limit_what_is_open_and_the_remedy():
    """It can be said although nothing can be opened."""
    with none_left():
        said = told()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert said.startswith("this process has run out of file descriptors")
    assert f"(ulimit -n) is {limit:,} (" in said
    assert " files" in said
    assert "LimitNOFILE=" in said


def test_a_disk_that_cannot_be_reached_for_it_is_not_blamed():
    """The message names the limit."""
    refusal = disk_refusal(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))

    assert "has run out of file descriptors (ulimit -n)" in str(refusal)


def test_the_alarm_sounds_once_a_minute(clock, caplog):
    """A shortage may last for hours, and each request may meet it."""
    alarm = Alarm(monotonic=clock)

    alarm.sound()
    alarm.sound()
    clock.advance(61)
    alarm.sound()

    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_watch_finds_out_by_itself(caplog):
    """A client that the kernel turned away is told to nobody."""
    with none_left():
        async with watched(Alarm()):
            await until(lambda: caplog.records)

    assert "run out of file descriptors" in caplog.text
