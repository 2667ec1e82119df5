"""A recording in which everything holds, for tests to spoil: two batches, one kill, one resend."""

from __future__ import annotations

from .faults import REFUSAL, Fate, Fault
from .history import AtRest, Call, Disturbance, History, Look, Result, Send
from .schedule import BatchPlan, LinePlan, Schedule

KEY_REFUSED = "sick: 401"
SETTINGS = (("request_timeout_s", "1.5"), ("max_attempts", "12"))


def answer(tag):
    """One line of an output file."""
    body = {"choices": [{"message": {"content": tag}}]}
    return {
        "custom_id": f"{tag.replace('/', '-line-')}",
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


def refusal(tag, status=400, message=REFUSAL):
    """One line of an error file that a model server refused."""
    body = {"error": {"message": message}}
    custom_id = tag.replace("/", "-line-")
    return {
        "custom_id": custom_id,
        "response": {"status_code": status, "body": body},
        "error": None,
    }


def unrun(tag, code="batch_cancelled"):
    """One line of an error file that was never run."""
    error = {"code": code, "message": "not executed"}
    return {"custom_id": tag.replace("/", "-line-"), "response": None, "error": error}


def batch_object(status="completed", *, total=4, completed=3, failed=1, **changes):
    """A batch as the gateway shows it."""
    return {
        "id": "batch_0",
        "status": status,
        "created_at": 10,
        "in_progress_at": 11,
        "request_counts": {"total": total, "completed": completed, "failed": failed},
        "errors": None,
    } | changes


def calls(*objects):
    """Answers to a client that asks for its batch again and again."""
    return [
        Call("GET /v1/batches/{id}", 101 + n, 101.1 + n, 200, batch="b0", body=body)
        for n, body in enumerate(objects)
    ]


def history():
    """Line 0 met a sick server, line 1 a 500; two servers refuse line 2; line 3 was in flight at a kill."""
    special = ((1, LinePlan((Fault.SERVER_ERROR,))), (2, LinePlan((), Fate.REFUSED)))
    plan = BatchPlan("b0", 4, special=special)
    ids, tags = [f"b0-line-{n}" for n in range(4)], [f"b0/{n}" for n in range(4)]
    result = Result(
        "b0",
        "batch_0",
        ids,
        tags,
        final=batch_object(),
        output=[answer(tags[0]), answer(tags[1]), answer(tags[3])],
        error=[refusal(tags[2])],
        created=["batch_0"],
    )
    return History(
        Schedule(7, "1", (plan,), settings=SETTINGS),
        sends=[
            Send("b0/0", 1, 100.9, KEY_REFUSED, 100.9, "broken"),
            Send("b0/0", 0, 101.0, Fate.ANSWERED, 101.1, "delivered"),
            Send("b0/1", 0, 101.0, Fault.SERVER_ERROR, 101.1, "broken"),
            Send("b0/2", 0, 101.0, Fate.REFUSED, 101.1, "delivered"),
            Send("b0/2", 1, 101.2, Fate.REFUSED, 101.3, "delivered"),
            Send("b0/3", 1, 101.9, Fate.ANSWERED, 102.1, "left"),
            Send("b0/1", 0, 101.3, Fate.ANSWERED, 101.4, "delivered"),
            Send("b0/3", 1, 103.9, Fate.ANSWERED, 104.0, "delivered"),
        ],
        calls=calls(
            batch_object("validating", total=0, completed=0, failed=0),
            batch_object("in_progress", completed=2),
            batch_object(),
            batch_object(),
        ),
        disturbances=[Disturbance("down", "dispatcher", 102.0, 103.0, is_bidden=True, code=-9)],
        looks=[
            Look(102.1, {"b0": frozenset({0, 1, 2})}, {"b0": 3}, {"b0": 3}),
            Look(104.5, {"b0": frozenset({0, 1, 2, 3})}, {"b0": 4}, {"b0": 4}),
        ],
        results={"b0": result},
        listed=frozenset({"batch_0"}),
        at_rest=AtRest("ok", batches=frozenset({"batch_0"})),
        logs={"gateway.log": "gateway listens", "dispatcher.log": "b0 accepted"},
    )
