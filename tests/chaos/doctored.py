"""A recording in which everything holds, for tests to spoil: a batch, a kill, a resend, its end told and handled."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from standardwebhooks import Webhook

from batchline.webhooks.records import new_secret

from .faults import REFUSAL, TAKES, Fate, Fault, Reception
from .history import (
    ENDPOINT,
    AtRest,
    Call,
    Disturbance,
    Handled,
    History,
    Look,
    Noted,
    Result,
    Send,
    Told,
)
from .schedule import BatchPlan, Handling, LinePlan, Schedule

KEY_REFUSED = "sick: 401"
SECRETS = {ENDPOINT: new_secret(), "b0": new_secret()}
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


def told(asked_by=ENDPOINT, *, event="evt_0", kind="batch.completed", batch="batch_0", dealt="200"):
    """What the receiver is told, signed for who asked for it."""
    at = datetime.fromtimestamp(1_800_000_000, UTC)
    body = json.dumps({"id": event, "object": "event", "type": kind, "data": {"id": batch}})
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRETS[asked_by]).sign(event, at, body),
    }
    reception = Reception(dealt)
    return Told(asked_by, 104.6, reception, headers, body, is_taken=reception in TAKES)


def handled(result, *, start=0, stop=None, at=105.0, **changes):
    """An attempt of the handler at the batch, which kept a checkpoint behind its first result."""
    lines = {line["custom_id"]: line for line in (*result.output, *result.error)}
    got = [lines[custom_id] for custom_id in result.custom_ids[start:stop]]
    state = {"taken": start} if start else None
    made = Handled("batch_0", "evt_0", start, state, 4711, at, at + 0.5, got, [start + 1])
    return replace(made, **({"end": "well" if stop is None else "kill -9"} | changes))


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
        Schedule(7, "1", (plan,), settings=SETTINGS, callbacks=("b0",), handling=Handling(1, 0.0)),
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
        told=[told(dealt="500"), told(), told("b0")],
        secrets=dict(SECRETS),
        listed=frozenset({"batch_0"}),
        handled=[handled(result, stop=3), handled(result, start=1, at=106.0)],
        at_rest=AtRest(
            "ok",
            batches=frozenset({"batch_0"}),
            handled=(Noted("batch_0", "evt_0", "delivered", 4),),
        ),
        logs={"gateway.log": "gateway listens", "dispatcher.log": "b0 accepted"},
    )
