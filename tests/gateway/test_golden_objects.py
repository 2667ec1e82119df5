"""Golden objects: files, batches in each status, lists, models; each parsed strictly by the SDK's own types."""

from __future__ import annotations

import json

import pytest
from goldens import Shapes, names
from sdk_shapes import parse_strictly

from batchline.blobs.keys import result_key
from batchline.jsonl.result_lines import CANCELLED_CODE, CANCELLED_MESSAGE, error_record
from batchline.model import Fault, FleetReport
from batchline.states import BatchStatus, OutcomeKind

OK, BAD = OutcomeKind.SUCCEEDED, OutcomeKind.FAILED
FAULTS = [
    Fault("invalid_json_line", "This line is not parseable as valid JSON.", 2, None),
    Fault("missing_required_parameter", "Missing required parameter: 'url'.", 7, "url"),
    Fault("too_many_tasks", "Too many.", None, None),
]


async def validating(gateway):
    """Make a new batch with everything that a client may say about it."""
    file = await gateway.upload()
    batch = await gateway.create_batch(
        input_file_id=file.id,
        metadata={"run": "7"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    gateway.clock.advance(10)
    return batch.id


async def in_progress(gateway, until=BatchStatus.IN_PROGRESS):
    batch_id = await validating(gateway)
    await gateway.run(batch_id, OK, OK, BAD, until=until)
    gateway.clock.advance(10)
    return batch_id


async def finalizing(gateway):
    return await in_progress(gateway, until=BatchStatus.FINALIZING)


async def completed(gateway, kinds=(OK, BAD)):
    batch_id = await finalizing(gateway)
    await gateway.close(batch_id, BatchStatus.COMPLETED, kinds)
    return batch_id


async def failed(gateway):
    batch_id = await validating(gateway)
    batch = await gateway.store.get_batch(batch_id)
    assert await gateway.store.reject(batch, FAULTS, now=int(gateway.clock()))
    return batch_id


async def expired(gateway):
    batch_id = await in_progress(gateway)
    gateway.clock.advance(86400)
    await gateway.store.lapse(now=int(gateway.clock()))
    await gateway.close(batch_id, BatchStatus.EXPIRED, [BAD])
    return batch_id


async def cancelling(gateway):
    batch_id = await in_progress(gateway)
    await gateway.client.batches.cancel(batch_id)
    gateway.clock.advance(10)
    return batch_id


async def cancelled(gateway):
    batch_id = await cancelling(gateway)
    await gateway.close(batch_id, BatchStatus.CANCELLED, [BAD])
    return batch_id


async def paused(gateway):
    batch_id = await in_progress(gateway)
    await gateway.call("POST", f"/v1/batches/{batch_id}/pause")
    gateway.clock.advance(10)
    return batch_id


async def failing(gateway):
    """Most of its lines fail; it would pause, but for the dispatcher that did not come to that yet."""
    batch = await gateway.create_batch(extra_body={"on_failures": "pause"})
    await gateway.run(batch.id, *[BAD] * 60, *[OK] * 40, left=1)
    kind = "400 BadRequestError: prompt # is too long"
    at = int(gateway.clock())
    await gateway.store.report(FleetReport(at=at, failing={batch.id: kind}))
    gateway.clock.advance(10)
    return batch.id


async def retried(gateway):
    """The batch that a retry makes, of the one line that a cancel kept from running."""
    batch_id = await cancelled(gateway)
    writer = gateway.blobs.create(result_key(batch_id, "error"))
    await writer.write(
        error_record("batch_req_x", "a", code=CANCELLED_CODE, message=CANCELLED_MESSAGE)
    )
    await writer.commit()
    answer = await gateway.call("POST", f"/v1/batches/{batch_id}/retry")
    return answer.json["id"]


STATES = (
    validating,
    in_progress,
    finalizing,
    completed,
    failed,
    expired,
    cancelling,
    cancelled,
    paused,
    failing,
    retried,
)


async def no_setup(gateway):
    return ""


async def a_file(gateway):
    return (await gateway.upload()).id


async def a_file_of_user_data(gateway):
    """A purpose that keeps its files for ever."""
    return (await gateway.upload(purpose="user_data", name="ü.jsonl")).id


async def three_files(gateway):
    for _ in range(3):
        await gateway.upload()
        gateway.clock.advance(1)
    return ""


async def two_batches(gateway):
    await completed(gateway)
    await validating(gateway)
    return ""


async def two_models(gateway):
    await gateway.report()
    return ""


CASES = {
    "files/file": (a_file, "GET", "/v1/files/{}"),
    "files/file_without_expiry": (a_file_of_user_data, "GET", "/v1/files/{}"),
    "files/deleted": (a_file, "DELETE", "/v1/files/{}"),
    "files/list": (three_files, "GET", "/v1/files"),
    "files/list_first_page": (three_files, "GET", "/v1/files?limit=2"),
    "files/list_empty": (no_setup, "GET", "/v1/files"),
    "batches/deleted": (completed, "DELETE", "/v1/batches/{}"),
    "batches/list": (two_batches, "GET", "/v1/batches"),
    "batches/list_first_page": (two_batches, "GET", "/v1/batches?limit=1"),
    "batches/list_empty": (no_setup, "GET", "/v1/batches"),
    "models/model": (two_models, "GET", "/v1/models/org/n"),
    "models/list": (two_models, "GET", "/v1/models"),
    "models/list_empty": (no_setup, "GET", "/v1/models"),
} | {f"batches/{make.__name__}": (make, "GET", "/v1/batches/{}") for make in STATES}


@pytest.mark.spec(
    *("2.1-every-field", "2.1-object", "3.1-every-field", "3.1-object", "3.1-statuses"),
    *("3.1-stamps", "4-list-fields", "4-first-last"),
)
@pytest.mark.parametrize("name", CASES)
async def test_objects_are_as_last_reviewed(gateway, golden, name):
    """Status, headers and every field equal the golden; the SDK's type parses it strictly, field for field."""
    setup, method, path = CASES[name]
    identity = await setup(gateway)

    answer = await gateway.call(method, path.format(identity))

    assert answer.status == 200
    parse_strictly(answer.body, answer.json, paged="models" not in path)
    shapes = Shapes(now=int(gateway.clock()))
    golden.check(
        name,
        {
            "request": shapes.text(f"{method} {path.format(identity)}"),
            "status": answer.status,
            "content-type": answer.headers["content-type"],
            "x-request-id": shapes.text(answer.headers["x-request-id"]),
            "body": shapes.of(answer.json),
        },
    )


def test_no_golden_object_is_left_over():
    """A golden that nothing compares would be a false promise."""
    folders = {name.partition("/")[0] for name in CASES}
    assert set().union(*map(names, folders)) == set(CASES)


async def test_what_create_and_cancel_answer_is_what_show_answers(gateway):
    """One shape per object, whichever call gives it."""
    file = await gateway.upload()
    shown_file = await gateway.call("GET", f"/v1/files/{file.id}")
    body = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    created = await gateway.call("POST", "/v1/batches", json=body)
    shown = await gateway.call("GET", f"/v1/batches/{created.json['id']}")
    cancelled = await gateway.call("POST", f"/v1/batches/{created.json['id']}/cancel")

    parse_strictly(cancelled.body, cancelled.json)
    assert json.loads(file.to_json(exclude_unset=False)).keys() == shown_file.json.keys()
    assert created.body == shown.body
    assert list(cancelled.json) == list(created.json)
