"""`/v1/responses` in the background, as its clients see it; the dispatcher is played."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.responses import Response

from batchline.blobs.keys import result_key
from batchline.jsonl.result_lines import answer_record, error_record
from batchline.model import RESPONSE_PURPOSE, Fault, File, OutcomeKind
from batchline.states import BatchStatus

ASKED = {"model": "m", "input": "Hello", "background": True}
ANSWER = {
    "id": "resp_of_the_server",
    "object": "response",
    "created_at": 5,
    "model": "m",
    "status": "completed",
    "background": False,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
OK, BAD = OutcomeKind.SUCCEEDED, OutcomeKind.FAILED


def batch_of(response_id):
    return "batch_" + response_id.removeprefix("resp_")


async def end(gateway, response_id, record, kind, *, status=BatchStatus.COMPLETED):
    """Play the dispatcher: settle the line and publish its record."""
    batch_id = batch_of(response_id)
    await gateway.run(batch_id, kind, until=BatchStatus.FINALIZING)
    batch = await gateway.store.get_batch(batch_id)
    key = result_key(batch_id, "output" if kind == OK else "error")
    writer = gateway.blobs.create(key)
    await writer.write(record)
    await writer.commit()
    file = File(f"file-{batch.seq}", len(record), 1, None, "x", RESPONSE_PURPOSE, key)
    files = {"output": file, "error": None} if kind == OK else {"output": None, "error": file}
    assert await gateway.store.close(batch, status, **files, now=int(gateway.clock()))


def answered(status=200, body=None):
    text = json.dumps(ANSWER if body is None else body).encode()
    return answer_record("batch_req_1", "response", status=status, upstream_id="u", body=text)


@pytest.mark.spec("beyond-background")
async def test_a_response_is_queued_and_runs(gateway):
    """By the stock client, in its strict types; the server's own id is not what clients ask by."""
    queued = await gateway.client.responses.create(**ASKED, metadata={"k": "v"})
    batch = await gateway.store.get_batch(batch_of(queued.id))
    asked = [chunk async for chunk in gateway.blobs.stream(batch.input_key)]
    await gateway.run(batch.id, OK, until=BatchStatus.IN_PROGRESS)
    running = await gateway.client.responses.retrieve(queued.id)

    assert (queued.status, queued.model, queued.metadata) == ("queued", "m", {"k": "v"})
    assert (queued.background, queued.output) == (True, [])
    assert json.loads(b"".join(asked))["body"] == {"model": "m", "input": "Hello"} | {
        "metadata": {"k": "v"}
    }
    assert (running.status, running.id) == ("in_progress", queued.id)


@pytest.mark.spec("beyond-background")
async def test_an_answer_comes_under_our_id_with_all_that_the_server_said(gateway):
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, answered(), OK)

    raw = await gateway.call("GET", f"/v1/responses/{made.id}")
    parsed = Response.model_validate_json(raw.body, strict=True)

    assert (raw.json["id"], raw.json["status"], raw.json["background"]) == (
        made.id,
        "completed",
        True,
    )
    assert parsed.output_text == "Hi"
    assert (raw.json["error"], raw.json["metadata"]) == (None, {})  # which it lacked
    known = {"id", "created_at", "completed_at", "background", "error", "metadata"}
    assert {k: v for k, v in raw.json.items() if k not in known} == {
        k: v for k, v in ANSWER.items() if k not in known
    }


@pytest.mark.parametrize(
    ("record", "code", "says"),
    [
        (
            answered(400, {"error": {"message": "too long", "code": 400}}),
            "invalid_prompt",
            "too long",
        ),
        (answered(429, {"error": {"message": "slow"}}), "rate_limit_exceeded", "slow"),
        (answered(500, {"error": {"message": "broken"}}), "server_error", "broken"),
        (answered(500, {"detail": "?"}), "server_error", "The model server answered 500"),
        (error_record("r", "c", code="x", message="lost"), "server_error", "lost"),
    ],
)
async def test_a_line_that_failed_is_a_failed_response(gateway, record, code, says):
    """With a code that OpenAI's clients know."""
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, record, BAD)

    raw = await gateway.call("GET", f"/v1/responses/{made.id}")
    shown = Response.model_validate_json(raw.body, strict=True)

    assert (shown.status, shown.error.code) == ("failed", code)
    assert says in shown.error.message


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("model_not_found", "no such model"), "invalid_prompt"),
        (Fault("internal_error", "it broke"), "server_error"),
    ],
)
async def test_a_batch_that_failed_is_a_failed_response(gateway, fault, code):
    made = await gateway.client.responses.create(**ASKED)
    batch = await gateway.store.get_batch(batch_of(made.id))
    assert await gateway.store.reject(batch, [fault], now=int(gateway.clock()))

    shown = await gateway.client.responses.retrieve(made.id)

    assert (shown.status, shown.error.code) == ("failed", code)
    assert shown.error.message == fault.message


@pytest.mark.spec("beyond-background-cancel")
async def test_cancelling_is_final_and_may_be_repeated(gateway):
    made = await gateway.client.responses.create(**ASKED)

    first = await gateway.client.responses.cancel(made.id)
    again = await gateway.client.responses.cancel(made.id)
    shown = await gateway.client.responses.retrieve(made.id)

    assert {first.status, again.status, shown.status} == {"cancelled"}
    assert shown.error is None


async def test_what_has_ended_stays_as_it_is_when_cancelled(gateway):
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, answered(), OK)

    assert (await gateway.client.responses.cancel(made.id)).status == "completed"


@pytest.mark.spec("beyond-background-cancel")
async def test_deleting_takes_the_response_and_its_bytes_and_refuses_an_open_one(gateway):
    made = await gateway.client.responses.create(**ASKED)
    refused = await gateway.call("DELETE", f"/v1/responses/{made.id}")
    await end(gateway, made.id, answered(), OK)

    deleted = await gateway.call("DELETE", f"/v1/responses/{made.id}")
    gone = await gateway.call("GET", f"/v1/responses/{made.id}")

    assert refused.status == 409
    assert "Cancel it first" in refused.json["error"]["message"]
    assert deleted.json == {"id": made.id, "object": "response", "deleted": True}
    assert gone.status == 404
    assert await gateway.store.get_file("file-1", now=0) is None


@pytest.mark.spec("beyond-background-hidden")
async def test_lists_of_batches_and_files_do_not_show_it(gateway):
    """Ten thousand of them would hide what people look for."""
    await gateway.create_batch()
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, answered(), OK)

    batches = await gateway.call("GET", "/v1/batches")
    by_status = await gateway.call("GET", "/v1/batches?status=completed")
    files = await gateway.call("GET", "/v1/files")
    up = await gateway.call("GET", "/v1/files?order=asc")

    assert len(batches.json["data"]) == 1
    assert by_status.json["data"] == []
    assert len(files.json["data"]) == len(up.json["data"]) == 1


@pytest.mark.spec("beyond-background-hidden")
async def test_its_end_is_no_event(gateway):
    """Events tell the ends of batches; a response is asked for by its id."""
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, answered(), OK)
    overview = await gateway.store.overview(finished_limit=5)

    assert overview.outbox.unaddressed_since is None
    assert overview.finished == []


async def test_a_repeated_request_is_the_same_response(gateway):
    """Under a key, and as the SDK repeats by itself; another body under the key is a conflict."""
    headers = {"Idempotency-Key": "k"}
    first = await gateway.call("POST", "/v1/responses", json=ASKED, headers=headers)
    again = await gateway.call("POST", "/v1/responses", json=ASKED, headers=headers)
    other = await gateway.call(
        "POST", "/v1/responses", json=ASKED | {"input": "Bye"}, headers=headers
    )

    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status == 409
    assert len(gateway.stored()) == 1


@pytest.mark.parametrize("path", ["resp_1", "batch_1", "x", "resp_" + "0" * 32])
async def test_what_is_not_there_is_404(gateway, path):
    for method, tail in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        answer = await gateway.call(method, f"/v1/responses/{path}{tail}")
        assert answer.status == 404
        assert "No response found" in answer.json["error"]["message"]


@pytest.mark.parametrize("depth", [*range(900, 1000, 20), 100_000])
async def test_an_answer_that_is_nested_deeply_is_shown_or_said_to_be(gateway, depth):
    made = await gateway.client.responses.create(**ASKED)
    nested = b"[" * depth + b"]" * depth
    body = b'{"object":"response","status":"completed","output":' + nested + b"}"
    record = answer_record("r", "c", status=200, upstream_id="u", body=body)
    await end(gateway, made.id, record, OK)

    async with gateway.http.get(f"{gateway.url}/v1/responses/{made.id}") as answer:
        shown = await answer.read()  # json is no deeper reader than ours

    assert answer.status == 200
    assert (b'"completed"' in shown) is (depth < 1000)


async def test_a_batch_is_no_response(gateway):
    batch = await gateway.create_batch()
    path = f"/v1/responses/{batch.id.replace('batch_', 'resp_')}"

    assert (await gateway.call("GET", path)).status == 404
    assert (await gateway.call("DELETE", path)).status == 404


@pytest.mark.spec("beyond-background-refused")
async def test_bad_requests_are_refused_and_leave_nothing(gateway):
    with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
        await gateway.client.responses.create(**ASKED, stream=True)
    with pytest.raises(openai.BadRequestError, match="'store' must be true"):
        await gateway.client.responses.create(**ASKED, store=False)
    made = await gateway.client.responses.create(**ASKED)
    streamed = await gateway.call("GET", f"/v1/responses/{made.id}?stream=true")

    assert streamed.status == 400
    assert len(gateway.stored()) == 1


async def test_an_answer_whose_file_has_gone_says_so(gateway):
    made = await gateway.client.responses.create(**ASKED)
    await end(gateway, made.id, answered(), OK)
    batch = await gateway.store.get_batch(batch_of(made.id))
    await gateway.store.delete_file(batch.output_file_id)

    answer = await gateway.call("GET", f"/v1/responses/{made.id}")

    assert answer.status == 404
    assert "has expired or was deleted" in answer.json["error"]["message"]
