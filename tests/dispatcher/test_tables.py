"""What becomes of a line for each error answer there is; docs/retries.md shows it."""

from __future__ import annotations

import pytest

from dispatcher.attempts.opinions import Kind, Opinion, Opinions
from dispatcher.replies.kinds_of_failure import signature_of
from dispatcher.replies.policy import POLICIES, Counts, Reason, Then
from dispatcher.tables import BODIES, STATUSES, fates, reason_of, status_table

OPERATORS = {401, 402, 403, 407, 511, *range(300, 400)}
WHATEVER_IT_SAYS = {410, 421, 426, 431, 501}
OWN_ROWS = {408, 409, 425}
OBJECTS = {"OpenAI's error object", "a flat one", "FastAPI's list"}
JSON = {*OBJECTS, "FastAPI's detail"}


@pytest.mark.spec("6-about-the-line")
@pytest.mark.parametrize(("name", "body"), BODIES.items(), ids=BODIES)
def test_what_each_error_answer_costs_a_line(name, body):
    """Whatever its body; nothing where it is about the server, the key, the route, or lack of room."""
    for status in STATUSES:
        row = POLICIES[reason_of(status, body)]
        is_bare, is_client = name not in OBJECTS, status < 500 or status == 501
        is_text_of_its_own = status == 422 and name == "a text"
        about_server = (
            status in OPERATORS
            or (status in {404, 405, 413} and is_bare)
            or (status in WHATEVER_IT_SAYS and name not in JSON)
            or status in {429, 503, 529}
        )
        assert (row.counts is Counts.NOTHING and row.then is Then.RETRY) is about_server, status
        assert (row.then is Then.FAIL) is (
            not about_server
            and is_client
            and status not in OWN_ROWS
            and (name in JSON or is_text_of_its_own)
        ), status


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_becomes_of_a_line_in_each_fleet(body):
    """One backend; two that say the same; one that is the only one to say so."""
    for status in STATUSES:
        reason = reason_of(status, body)
        alone, agreed, answered = fates(reason)
        if POLICIES[reason].then is not Then.FAIL:
            assert not {alone[:5], agreed[:5]} & {"fails"}
            assert answered == "goes to the other one"
            continue
        kind = Kind("batch", signature_of(status, body))
        opinions = Opinions()
        assert judged(opinions, kind, "a", (), has_other=False) is Opinion.COUNTS
        assert judged(opinions, kind, "a", ()) is Opinion.ELSEWHERE
        assert opinions.record_answer("b", "line", [("a", kind)]) is None
        assert judged(opinions, kind, "a", ()) is Opinion.ELSEWHERE
        assert judged(opinions, kind, "b", [("a", kind)]) is Opinion.COUNTS
        assert (alone, agreed) == ("fails", "fails, as the other one agrees")


def judged(opinions, kind, by, before, *, has_other=True):
    return opinions.record_refusal("line", kind, by=by, before=before, has_other=has_other, now=0.0)


def test_every_reason_of_a_status_has_its_row():
    """The table leaves none out."""
    shown = status_table()
    reasons = {reason_of(status, body) for status in STATUSES for body in BODIES.values()}

    assert Reason.KEY_REFUSED in reasons
    for reason in reasons:
        assert f"`{reason}`" in shown
