"""When a backend hangs: silence, or an engine that stands still."""

from __future__ import annotations

import pytest

from dispatcher.backends.liveness import HangLimits, Liveness

LIMITS = HangLimits(300.0)
MOVED = Liveness().record_metrics(7, now=1000.0)
STILL = MOVED.record_metrics(7, now=1300.0)

CASES = {
    "for long": (STILL, 4, 0.0, 1300.0, True),
    "not for long enough": (STILL, 4, 0.0, 1299.0, False),
    "nothing in flight": (STILL, 0, 0.0, 9999.0, False),
    "a line was answered since": (STILL, 4, 1100.0, 1300.0, False),
    "its counters moved": (
        MOVED.record_metrics(8, now=1200.0).record_metrics(8, now=1300.0),
        4,
        0.0,
        1300.0,
        False,
    ),
    "nothing was told since": (MOVED.record_metrics(7, now=1299.0), 4, 0.0, 9999.0, False),
    "no metrics": (Liveness(), 4, 0.0, 9999.0, False),
}


@pytest.mark.parametrize(("liveness", "flying", "quiet", "now", "hangs"), CASES.values(), ids=CASES)
def test_an_engine_that_stands_still_with_requests_hangs(liveness, flying, quiet, now, hangs):
    """Only with lines of ours there, and nothing at all happening for that long."""
    found = LIMITS.stillness(liveness, in_flight=flying, quiet_since=quiet, now=now)

    assert (found is not None) is hangs


def test_silence_is_counted_from_the_first_question_without_an_answer():
    """Further silence does not begin anew; any answer ends it."""
    silent = MOVED.record_silence(since=2000.0).record_silence(since=2005.0)

    assert LIMITS.silence(silent, answered_at=0.0, now=2059.0) is None
    assert LIMITS.silence(silent, answered_at=0.0, now=2060.0) == "hangs: answers nothing"
    assert LIMITS.silence(silent.record_answer(), answered_at=0.0, now=9999.0) is None
    assert LIMITS.silence(silent.record_metrics(7, now=2061.0), answered_at=0.0, now=9999.0) is None


def test_a_server_that_answers_lines_is_not_silent():
    """Busy servers are late with everything else: silence is counted from their last answer on."""
    silent = MOVED.record_silence(since=2000.0)

    assert LIMITS.silence(silent, answered_at=2050.0, now=2100.0) is None
    assert LIMITS.silence(silent, answered_at=2050.0, now=2110.0) == "hangs: answers nothing"
    assert [silent.is_late(answered_at=at) for at in (1999.0, 2001.0)] == [False, True]
    assert not MOVED.is_late(answered_at=9999.0)


def test_nothing_ever_hangs_where_that_is_switched_off():
    """BATCHLINE_HANG_AFTER_S=0."""
    never = HangLimits(None)

    assert never.silence(MOVED.record_silence(since=0.0), answered_at=0.0, now=1e9) is None
    assert never.stillness(STILL, in_flight=1, quiet_since=0.0, now=1e9) is None
