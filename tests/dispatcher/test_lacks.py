"""What a backend lacks is asked for again with one line at a time, less and less often."""

from __future__ import annotations

from dispatcher.backends.lacks import ANY, Lacking, Lacks, Need

RERANK = Need("m", "/v1/rerank")
CHAT = Need("m", "/v1/chat/completions")


def test_one_trial_at_a_time_and_less_and_less_often():
    """Half a second, then longer, at most half a minute."""
    lacks, now, waits = Lacks(), 100.0, []
    for _ in range(9):
        lacks.note(Lacking.ENDPOINT, RERANK, "has no /v1/rerank (404)", now=now)
        assert not lacks.allow(RERANK, now)
        until = next(t for t in range(1, 99) if lacks.allow(RERANK, now + t / 2)) / 2
        waits.append(until)
        now += until
        lacks.record_attempt(RERANK, now)
        assert not lacks.allow(RERANK, now)

    assert (waits[0], waits[-1]) == (0.5, 30.0)
    assert waits == sorted(waits)


def test_lines_that_were_under_way_are_no_news():
    """Sixty that are refused together are one finding."""
    lacks = Lacks()
    news = [lacks.note(Lacking.MODEL, CHAT, "does not know m", now=0.0) for _ in range(60)]

    assert news == [True] + [False] * 59
    assert lacks.allow(CHAT, 0.5)


def test_a_trial_that_tells_nothing_makes_room_for_another():
    """It was lost, or its batch was cancelled."""
    lacks = Lacks()
    lacks.note(Lacking.MODEL, CHAT, "does not know m", now=0.0)
    lacks.record_attempt(CHAT, 1.0)
    lacks.forget_attempt(CHAT, 2.0)

    assert [lacks.allow(CHAT, now) for now in (2.0, 2.5)] == [False, True]


def test_an_answer_proves_what_it_needed_and_nothing_else():
    """A short line says nothing of long ones, one endpoint nothing of another."""
    lacks = Lacks()
    lacks.note(Lacking.ENDPOINT, RERANK, "no rerank", now=0.0)
    lacks.note(Lacking.SIZE, CHAT._replace(size_bytes=500), "too large", now=0.0)

    lacks.record_answer(CHAT)

    assert sorted(lacks.reasons()) == ["no rerank", "too large"]
    assert list(lacks.reasons(CHAT)) == []
    assert list(lacks.reasons(RERANK)) == ["no rerank"]
    lacks.record_answer(CHAT._replace(size_bytes=500))
    lacks.record_answer(RERANK)
    assert not lacks
    assert lacks.most_bytes == 0
    assert lacks.allow(ANY, 0.0)


def test_of_much_that_is_lacking_the_first_is_told():
    """A server may lack a thousand models, and the report is written each second."""
    lacks = Lacks()
    assert lacks.in_words() is None

    for n in range(5):
        lacks.note(Lacking.MODEL, Need(f"m{n}", CHAT.endpoint), f"does not know m{n}", now=0.0)

    assert (
        lacks.in_words()
        == "does not know m0; does not know m1; does not know m2; and 2 more of the kind"
    )
