"""Second opinions: whose fault a refusal is, found out with few sends more."""

from __future__ import annotations

from collections import Counter, deque

import pytest

from dispatcher.attempts.opinions import AT_ONCE, ODD, Kind, Opinion, Opinions
from dispatcher.replies.kinds_of_failure import Signature

KIND = Kind("batch", Signature(400, "x", "too long"))
OTHER = Kind("batch", Signature(400, "x", "no such role"))


class Scene:
    """Lines (numbers) that backends refuse; `now` is moved by hand."""

    def __init__(self):
        self.opinions = Opinions()
        self.now = 0.0
        self.before = {}
        self.gone = set()

    def refused(self, line, by="a", kind=KIND, *, has_other=True):
        before = self.before.setdefault(line, [])
        found = self.opinions.record_refusal(
            line, kind, by=by, before=before, has_other=has_other, now=self.now
        )
        before.append((by, kind))
        return found

    def answered(self, by, line=-1):
        return self.opinions.record_answer(by, line, self.before.get(line, []))

    def release(self):
        found = self.opinions.release(self.now, is_wanted=lambda line: line not in self.gone)
        return found.fail, found.elsewhere


@pytest.fixture
def scene():
    return Scene()


def settled(scene):
    """Settle the kind: two backends agree on line 100."""
    assert scene.refused(100) is Opinion.ELSEWHERE
    assert scene.refused(100, "b") is Opinion.COUNTS


def test_with_one_backend_a_refusal_counts_at_once(scene):
    """There is nobody else to ask."""
    assert scene.refused(0, has_other=False) is Opinion.COUNTS


def test_the_first_of_a_kind_are_asked_elsewhere_and_the_others_wait(scene):
    """When the second backend agrees, all of them fail, and later ones as soon as the first one works."""
    first = [scene.refused(line) for line in range(10)]

    assert first == [Opinion.ELSEWHERE] * AT_ONCE + [Opinion.WAITS] * (10 - AT_ONCE)
    assert scene.release() == ([], [])
    assert scene.refused(0, "b") is Opinion.COUNTS
    assert scene.release() == ([*range(AT_ONCE, 10)], [])
    assert scene.refused(20) is Opinion.WAITS
    scene.answered("a")
    assert scene.release() == ([20], [])


def test_a_backend_that_refuses_what_others_answer_costs_no_line(scene):
    """All that it refused alike goes elsewhere; after a few such it is to be taken out."""
    for line in range(10):
        scene.refused(line)

    found = [scene.answered("b", line) for line in range(AT_ONCE)]

    assert found == [None] * (ODD - 1) + ["a"]
    assert scene.release() == ([], [*range(AT_ONCE, 10)])
    assert scene.refused(30) is Opinion.ELSEWHERE


def test_one_that_answers_in_between_is_not_taken_out(scene):
    """A smaller context than the others': its refusals go elsewhere, its short lines stay."""
    for line in range(20):
        assert scene.refused(line) is Opinion.ELSEWHERE
        assert scene.answered("b", line) is None
        scene.answered("a")


def test_the_word_of_one_that_is_known_to_be_odd_never_counts(scene):
    """Also while those who answer what it refuses are out: the line waits for them."""
    scene.refused(0)
    scene.answered("b", 0)

    assert scene.refused(1, has_other=False) is Opinion.ELSEWHERE
    assert scene.opinions.is_odd("a", KIND)
    assert not scene.opinions.is_odd("b", KIND)
    assert scene.refused(2, kind=OTHER, has_other=False) is Opinion.COUNTS


def test_answers_count_against_old_oddities_also_once_a_kind_is_settled(scene):
    """Two lines that others answered, then many answers of its own: the next one takes nobody out."""
    for line in range(ODD - 1):
        scene.refused(line)
        scene.answered("b", line)
    scene.refused(100, kind=OTHER)
    scene.refused(100, "b", OTHER)

    assert not scene.opinions.is_idle
    scene.answered("a")
    assert scene.opinions.is_idle
    scene.refused(50)
    assert scene.answered("b", 50) is None


def test_two_that_refuse_for_different_reasons_agree_on_the_line_and_on_no_kind(scene):
    """One of them is sick perhaps; the line was refused by two all the same."""
    scene.refused(0)
    assert scene.refused(0, "b", OTHER) is Opinion.COUNTS

    assert scene.refused(1) is Opinion.ELSEWHERE


def test_the_same_backend_twice_is_no_second_opinion(scene):
    """The other one died meanwhile: the line fails, the kind is not settled."""
    scene.refused(0)
    assert scene.refused(0) is Opinion.ELSEWHERE
    assert scene.refused(0, has_other=False) is Opinion.COUNTS

    assert scene.refused(1) is Opinion.ELSEWHERE


def test_a_batch_that_fails_in_a_thousand_ways_is_remembered_in_bounds(scene):
    """Messages that quote the line: beyond some kinds the status must do."""
    asked = 0
    for line in range(1000):
        kind = KIND._replace(signature=Signature(400, "x", f"kind {'x' * line}"))
        if scene.refused(line, "a", kind) is Opinion.ELSEWHERE:
            asked += 1
            assert scene.refused(line, "b", kind) is Opinion.COUNTS

    assert asked < 120
    scene.answered("a")
    assert len(scene.release()[0]) == 1000 - asked


def test_kinds_and_batches_are_judged_apart(scene):
    """What is settled in one batch may be one server's fault in another."""
    settled(scene)

    assert scene.refused(0, "a", OTHER) is Opinion.ELSEWHERE
    assert scene.refused(1, "a", KIND._replace(batch_id="other")) is Opinion.ELSEWHERE


def test_one_that_falls_sick_after_the_kind_was_settled_costs_no_line(scene):
    """It answers nothing any more: what it refuses waits, and one of these is asked elsewhere."""
    settled(scene)
    found = [scene.refused(line) for line in range(50)]
    asked = [line for line in range(50) if found[line] is Opinion.ELSEWHERE]

    assert len(asked) == 1
    assert Opinion.COUNTS not in found
    scene.answered("b", asked[0])
    assert scene.release() == ([], [line for line in range(50) if line not in asked])


def test_what_waits_near_the_end_of_a_batch_does_not_wait_for_long(scene):
    """Nothing else is answered there: after a second the other backend is asked about one of them."""
    settled(scene)
    assert [scene.refused(line) for line in range(3)] == [Opinion.WAITS] * 3
    assert scene.release() == ([], [])

    scene.now += 1.0
    assert scene.release() == ([], [0])
    assert scene.release() == ([], [])
    assert scene.refused(0, "b") is Opinion.COUNTS
    assert scene.release() == ([1, 2], [])


def test_a_batch_of_nothing_but_bad_lines_costs_few_sends_more(scene):
    """Of 10,000 lines that two healthy backends refuse."""
    sends, ended, queue = Counter(), set(), deque((line, "ab"[line % 2]) for line in range(10_000))
    while queue:
        line, by = queue.popleft()
        sends[line] += 1
        match scene.refused(line, by):
            case Opinion.COUNTS:
                ended.add(line)
            case Opinion.ELSEWHERE:
                queue.appendleft((line, "b" if by == "a" else "a"))
        fail, elsewhere = scene.release()
        ended.update(fail)
        queue.extendleft((line, "b") for line in elsewhere)
    scene.now += 1
    waiting = scene.release()[1]

    assert len(ended) + len(waiting) <= 10_000
    assert sum(sends.values()) - 10_000 < 60
    assert max(sends.values()) == 2


def test_lines_that_are_dropped_hold_up_nobody(scene):
    """Their batch was cancelled or their lease was lost: others are asked in their place."""
    for line in range(6):
        scene.refused(line)
    scene.gone = {0, 1, 2, 4}

    assert scene.release() == ([], [3, 5])


def test_a_line_that_was_asked_elsewhere_may_end_in_another_way(scene):
    """Of attempts, say."""
    for line in range(5):
        scene.refused(line)
    scene.opinions.forget(0, scene.before[0])

    assert scene.release() == ([], [3])


def test_batches_that_ended_are_forgotten(scene):
    """Nothing grows for ever."""
    settled(scene)
    scene.opinions.forget_batch("batch")

    assert scene.refused(0) is Opinion.ELSEWHERE
