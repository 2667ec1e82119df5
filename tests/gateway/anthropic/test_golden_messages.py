"""Golden answers of Anthropic's dialect: each object, each kind of result, each kind of refusal."""

from __future__ import annotations

import json

import pytest
from goldens import Shapes, names
from message_batches import PATH, RESULTS, accept, create, end, own, request_of

from batchline.model import Fault
from batchline.states import BatchStatus
from gateway.keys import Patience

HEADERS = ("content-type", "request-id", "x-should-retry", "retry-after", "allow")


async def in_progress(gateway):
    batch = await create(gateway, "a", "b")
    await accept(gateway, batch, total=2)
    gateway.clock.advance(10)
    return batch


async def received(gateway):
    return await create(gateway, "a", "b")


async def canceling(gateway):
    batch = await in_progress(gateway)
    await gateway.call("POST", f"{PATH}/{batch['id']}/cancel")
    gateway.clock.advance(10)
    return batch


async def ended(gateway):
    batch = await create(gateway, *(name.replace(" ", "-") for name in RESULTS))
    gateway.clock.advance(10)
    kinds = {name.replace(" ", "-"): name for name in RESULTS if name != "expired"}
    await end(gateway, batch, kinds)
    return batch


async def expired(gateway):
    batch = await create(gateway, "a", "b")
    await end(gateway, batch, {"a": "succeeded", "b": "expired"})
    return batch


async def canceled_unread(gateway):
    batch = await create(gateway, "a", "b")
    await gateway.call("POST", f"{PATH}/{batch['id']}/cancel")
    await gateway.close(own(batch), BatchStatus.CANCELLED)
    return batch


async def failed(gateway):
    batch = await create(gateway, "a", "b")
    stored = await gateway.store.get_batch(own(batch))
    fault = Fault("invalid_request", "Cannot find file file-x: its bytes are gone.")
    await gateway.store.reject(stored, [fault], now=int(gateway.clock()))
    return batch


async def three(gateway):
    for _ in range(3):
        await create(gateway, "a")
    return {"id": ""}


async def nothing(gateway):
    return {"id": ""}


ONE = PATH + "/{}"
STATES = (received, in_progress, canceling, ended, expired, canceled_unread, failed)
OBJECTS = {f"messages/{make.__name__}": (make, "GET", ONE) for make in STATES} | {
    "messages/deleted": (ended, "DELETE", ONE),
    "messages/list": (three, "GET", PATH),
    "messages/list_first_page": (three, "GET", PATH + "?limit=2"),
    "messages/list_empty": (nothing, "GET", PATH),
    "messages/results": (ended, "GET", ONE + "/results"),
    "messages/results_expired": (expired, "GET", ONE + "/results"),
    "messages/results_canceled_unread": (canceled_unread, "GET", ONE + "/results"),
    "messages/results_failed": (failed, "GET", ONE + "/results"),
}
TWICE = [request_of("a"), request_of("a")]
ERRORS = {
    "message_errors/not_json": (nothing, "POST", PATH, {"data": b"{nope"}),
    "message_errors/no_requests": (nothing, "POST", PATH, {"json": {}}),
    "message_errors/none": (nothing, "POST", PATH, {"json": {"requests": []}}),
    "message_errors/custom_id": (
        nothing,
        "POST",
        PATH,
        {"json": {"requests": [request_of("a b")]}},
    ),
    "message_errors/custom_id_twice": (nothing, "POST", PATH, {"json": {"requests": TWICE}}),
    "message_errors/no_params": (
        nothing,
        "POST",
        PATH,
        {"json": {"requests": [{"custom_id": "a"}]}},
    ),
    "message_errors/compression": (
        nothing,
        "POST",
        PATH,
        {"data": b"x", "headers": {"Content-Encoding": "br"}},
    ),
    "message_errors/foreign_host": (nothing, "GET", PATH, {"headers": {"Host": "evil.example"}}),
    "message_errors/foreign_page": (
        nothing,
        "POST",
        PATH,
        {"json": {}, "headers": {"Origin": "https://evil.example"}},
    ),
    "message_errors/limit": (nothing, "GET", PATH + "?limit=5000", {}),
    "message_errors/both_directions": (nothing, "GET", PATH + "?after_id=a&before_id=b", {}),
    "message_errors/cursor": (nothing, "GET", PATH + "?after_id=msgbatch_x", {}),
    "message_errors/unknown": (nothing, "GET", PATH + "/msgbatch_x", {}),
    "message_errors/unknown_route": (nothing, "GET", "/v1/messages/x/y", {}),
    "message_errors/wrong_method": (nothing, "PUT", PATH, {}),
    "message_errors/results_too_early": (in_progress, "GET", ONE + "/results", {}),
    "message_errors/delete_open": (in_progress, "DELETE", ONE, {}),
    "message_errors/cancel_ended": (expired, "POST", ONE + "/cancel", {}),
    "message_errors/no_server": (
        nothing,
        "POST",
        "/v1/messages",
        {"json": request_of("a")["params"]},
    ),
}
SETTINGS = {
    "message_errors/wrong_key": {"api_key": "k", "patience": Patience(wrong_key_s=0.0)},
    "message_errors/too_many": {"max_lines": 1},
    "message_errors/too_long": {"max_line_bytes": 1024},
    "message_errors/too_large": {"max_file_bytes": 2048},
}


def told(answer, request, shapes, body):
    head = {n: shapes.text(answer.headers[n]) for n in HEADERS if n in answer.headers}
    return {"request": shapes.text(request), "status": answer.status} | head | {"body": body}


@pytest.mark.spec("anthropic-object", "anthropic-results")
@pytest.mark.parametrize("name", OBJECTS)
async def test_objects_are_as_last_reviewed(gateway, golden, name):
    """Status, headers and every field equal the golden."""
    make, method, path = OBJECTS[name]
    batch = await make(gateway)

    answer = await gateway.call(method, path.format(batch["id"]))

    assert answer.status == 200
    shapes = Shapes(now=int(gateway.clock()))
    lines = answer.json or [json.loads(line) for line in answer.body.splitlines()]
    golden.check(
        name, told(answer, f"{method} {path.format(batch['id'])}", shapes, shapes.of(lines))
    )


@pytest.mark.spec("anthropic-error-form")
@pytest.mark.parametrize("name", ERRORS)
async def test_errors_are_as_last_reviewed(starts, golden, name):
    """Every refusal has the one form."""
    gateway = await starts(upstream_url="http://127.0.0.1:9")
    make, method, path, sent = ERRORS[name]
    batch = await make(gateway)

    answer = await gateway.call(method, path.format(batch["id"]), **sent)

    check(golden, gateway, name, answer, f"{method} {path.format(batch['id'])}")


@pytest.mark.spec("anthropic-error-form", "anthropic-limits")
@pytest.mark.parametrize("name", SETTINGS)
async def test_errors_of_settings_are_as_last_reviewed(starts, golden, name):
    """What depends on how the server is set up."""
    gateway = await starts(**SETTINGS[name])
    requests = [request_of("a", system="x" * 3000), request_of("b")]

    answer = await gateway.call("POST", PATH, json={"requests": requests})

    check(golden, gateway, name, answer, f"POST {PATH}")


def check(golden, gateway, name, answer, request):
    assert set(answer.json) == {"type", "error", "request_id"}
    assert set(answer.json["error"]) == {"type", "message"}
    shapes = Shapes(now=int(gateway.clock()))
    golden.check(name, told(answer, request, shapes, shapes.of(answer.json)))


def test_no_golden_is_left_over():
    """A golden that nothing compares would be a false promise."""
    assert names("messages") == set(OBJECTS)
    assert names("message_errors") == {*ERRORS, *SETTINGS}
