"""Message batches: what is shown of a batch in each state, and what may be done to it."""

from __future__ import annotations

import pytest
from message_batches import PATH, accept, create, end, own, request_of, results, shown
from scripted import message

from batchline.jsonl.result_lines import answer_record
from batchline.model import Fault
from batchline.states import BatchStatus, OnFaults
from gateway.dialects.anthropic.result_lines import result_line

ALL_ENDS = {
    "a": "succeeded",
    "b": "errored",
    "c": "refused",
    "d": "timed out",
    "e": "lost",
    "f": "canceled",
    "g": "succeeded",
}


def counts(**some):
    return dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0) | some


@pytest.mark.spec("anthropic-create", "anthropic-object")
async def test_a_message_batch_is_a_batch_of_ours(gateway):
    """Its requests are the lines of an input file, and OpenAI's dialect shows it, too."""
    batch = await create(gateway, "a", "b")
    ours = (await gateway.call("GET", f"/v1/batches/{own(batch)}")).json
    lines = (await gateway.call("GET", f"/v1/files/{ours['input_file_id']}/content")).body

    assert (batch["type"], batch["processing_status"]) == ("message_batch", "in_progress")
    assert batch["request_counts"] == counts(processing=2)
    assert (ours["endpoint"], ours["status"]) == ("/v1/messages", "validating")
    assert lines == (
        b'{"custom_id":"a","method":"POST","url":"/v1/messages","body":{"model": "m", '
        b'"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}\n'
        b'{"custom_id":"b","method":"POST","url":"/v1/messages","body":{"model": "m", '
        b'"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}\n'
    )
    stored = await gateway.store.get_batch(own(batch))
    assert (stored.on_faults, stored.requests) == (OnFaults.FAIL_LINES, 2)


@pytest.mark.spec("anthropic-counts")
async def test_counts_move_only_at_the_end(gateway):
    """The sum is that of all requests, at each moment."""
    batch = await create(gateway, *ALL_ENDS)
    received = (await shown(gateway, batch))["request_counts"]
    await accept(gateway, batch, total=len(ALL_ENDS))
    running = (await shown(gateway, batch))["request_counts"]

    assert received == running == batch["request_counts"] == counts(processing=7)


@pytest.mark.spec("anthropic-counts", "anthropic-results")
async def test_each_request_has_one_result(gateway):
    """In the order of the requests; the message as the model server wrote it."""
    batch = await create(gateway, *ALL_ENDS)
    await end(gateway, batch, ALL_ENDS)
    found = await shown(gateway, batch)
    told = await results(gateway, batch)

    assert found["processing_status"] == "ended"
    assert found["request_counts"] == counts(succeeded=2, errored=4, canceled=1)
    assert [line["custom_id"] for line in told] == list(ALL_ENDS)
    by_id = {line["custom_id"]: line["result"] for line in told}
    assert by_id["a"] == {"type": "succeeded", "message": message("né?")}
    assert by_id["f"] == {"type": "canceled"}
    errors = {key: by_id[key]["error"] for key in "bcde"}
    assert all(error["type"] == "error" for error in errors.values())
    assert all(error["request_id"].startswith("batch_req_") for error in errors.values())
    assert {key: tuple(error["error"].values()) for key, error in errors.items()} == {
        "b": ("not_found_error", "no such model"),
        "c": ("invalid_request_error", "so not"),
        "d": ("timeout_error", "No answer."),
        "e": ("api_error", "The connection broke."),
    }


@pytest.mark.spec("anthropic-counts", "anthropic-results")
async def test_what_expired_is_told(gateway):
    """The window is 24 hours."""
    batch = await create(gateway, "a", "b")
    await end(gateway, batch, {"a": "succeeded", "b": "expired"})

    assert (await shown(gateway, batch))["request_counts"] == counts(succeeded=1, expired=1)
    assert (await results(gateway, batch))[1]["result"] == {"type": "expired"}


@pytest.mark.spec("anthropic-cancel", "anthropic-counts", "anthropic-results")
async def test_a_batch_that_is_cancelled_before_it_was_read(gateway):
    """Its requests are canceled, though no result file was ever written."""
    batch = await create(gateway, "a", "b", "c")
    cancelled = (await gateway.call("POST", f"{PATH}/{batch['id']}/cancel")).json
    await gateway.close(own(batch), BatchStatus.CANCELLED)
    found = await shown(gateway, batch)

    assert cancelled["processing_status"] == "canceling"
    assert cancelled["request_counts"] == counts(processing=3)
    assert cancelled["cancel_initiated_at"] == found["cancel_initiated_at"]
    assert found["request_counts"] == counts(canceled=3)
    assert await results(gateway, batch) == [
        {"custom_id": custom_id, "result": {"type": "canceled"}} for custom_id in "abc"
    ]


@pytest.mark.spec("anthropic-counts", "anthropic-results")
async def test_a_batch_that_failed_has_erred_requests(gateway):
    """What breaks a whole batch is each request's error."""
    batch = await create(gateway, "a", "b")
    stored = await gateway.store.get_batch(own(batch))
    fault = Fault("too_many_tasks", "The file holds too many.")
    assert await gateway.store.reject(stored, [fault], now=int(gateway.clock()))

    assert (await shown(gateway, batch))["request_counts"] == counts(errored=2)
    for line in await results(gateway, batch):
        error = line["result"]["error"]
        assert error["error"] == {"type": "api_error", "message": "The file holds too many."}


async def test_results_whose_bytes_are_gone_are_404(gateway):
    """Also those that are made of the input."""
    batch = await create(gateway, "a")
    await gateway.call("POST", f"{PATH}/{batch['id']}/cancel")
    await gateway.close(own(batch), BatchStatus.CANCELLED)
    stored = await gateway.store.get_batch(own(batch))
    await gateway.blobs.delete(stored.input_key)

    answer = await gateway.call("GET", f"{PATH}/{batch['id']}/results")

    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")


def test_a_result_that_is_nested_very_deeply_is_translated():
    """It was good enough to be stored by whoever had more room for calls."""

    def record(depth):
        body = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
        return answer_record("batch_req_x", "a", status=200, upstream_id="u", body=body)

    def translated(line, calls):
        return result_line(line) if not calls else translated(line, calls - 1)

    for depth in (200, 500, 800):
        assert translated(record(depth), 300).startswith(b'{"custom_id":"a","result":')


@pytest.mark.spec("anthropic-results")
async def test_there_are_no_results_before_the_end(gateway):
    """`results_url` says when; whoever asks before is told."""
    batch = await create(gateway)

    answer = await gateway.call("GET", f"{PATH}/{batch['id']}/results")

    assert batch["results_url"] is None
    assert answer.status == 404
    assert "has not ended" in answer.json["error"]["message"]


@pytest.mark.spec("anthropic-results-url")
async def test_the_results_url_is_relative(gateway):
    """It works at whatever address the client knows us by."""
    batch = await create(gateway, "a")
    await end(gateway, batch, {"a": "succeeded"})

    url = (await shown(gateway, batch))["results_url"]

    assert url == f"{PATH}/{batch['id']}/results"
    assert (await gateway.call("GET", url)).status == 200
    assert (await gateway.call("HEAD", url)).status == 200


@pytest.mark.spec("anthropic-delete")
async def test_only_a_batch_that_has_ended_can_be_deleted(gateway):
    """With it go its files."""
    batch = await create(gateway, "a")
    early = await gateway.call("DELETE", f"{PATH}/{batch['id']}")
    await end(gateway, batch, {"a": "succeeded"})
    deleted = await gateway.call("DELETE", f"{PATH}/{batch['id']}")
    again = await gateway.call("DELETE", f"{PATH}/{batch['id']}")

    assert (early.status, early.json["error"]["type"]) == (409, "invalid_request_error")
    assert early.headers["x-should-retry"] == "false"
    assert deleted.json == {"id": batch["id"], "type": "message_batch_deleted"}
    assert again.status == 404
    assert (await gateway.call("GET", "/v1/files")).json["data"] == []


@pytest.mark.spec("anthropic-cancel")
async def test_a_batch_that_has_ended_cannot_be_cancelled(gateway):
    """One that was cancelled is answered as it is."""
    done, gone = await create(gateway, "a"), await create(gateway, "b")
    await end(gateway, done, {"a": "succeeded"})
    await gateway.call("POST", f"{PATH}/{gone['id']}/cancel")
    await gateway.close(own(gone), BatchStatus.CANCELLED)

    assert (await gateway.call("POST", f"{PATH}/{done['id']}/cancel")).status == 409
    again = await gateway.call("POST", f"{PATH}/{gone['id']}/cancel")
    assert (again.status, again.json["processing_status"]) == (200, "ended")


@pytest.mark.spec("anthropic-only-messages")
async def test_batches_on_other_endpoints_are_not_seen(gateway):
    """They hold no messages; those on ours that OpenAI's dialect made are."""
    other = await gateway.create_batch()
    ours = await gateway.create_batch(endpoint="/v1/messages")

    listed = (await gateway.call("GET", PATH)).json["data"]

    assert [batch["id"] for batch in listed] == [f"msg{ours.id}"]
    for path in ("", "/results"):
        assert (await gateway.call("GET", f"{PATH}/msg{other.id}{path}")).status == 404
    assert (await gateway.call("POST", f"{PATH}/msg{other.id}/cancel")).status == 404
    assert (await gateway.call("DELETE", f"{PATH}/msg{other.id}")).status == 404
    assert (await gateway.call("GET", f"{PATH}/{ours.id}")).status == 404


async def test_a_batch_of_openais_dialect_that_failed_has_no_results(gateway):
    """Its file may hold anything: nobody knows how many requests it has."""
    batch = await gateway.create_batch(endpoint="/v1/messages")
    stored = await gateway.store.get_batch(batch.id)
    await gateway.store.reject(stored, [Fault("x", "bad")], now=int(gateway.clock()))
    as_theirs = {"id": f"msg{batch.id}"}

    assert (await shown(gateway, as_theirs))["request_counts"] == counts()
    assert await results(gateway, as_theirs) == []


@pytest.mark.spec("anthropic-list")
async def test_lists_in_both_directions(gateway):
    """Newest first; `has_more` is about the direction that was asked for."""
    made = [(await create(gateway))["id"] for _ in range(5)]

    async def page(**query):
        found = (await gateway.call("GET", PATH, params=query)).json
        ids = [batch["id"] for batch in found["data"]]
        ends = (ids[0], ids[-1]) if ids else (None, None)
        assert (found["first_id"], found["last_id"]) == ends
        return [made.index(batch_id) for batch_id in ids], found["has_more"]

    assert await page() == ([4, 3, 2, 1, 0], False)
    assert await page(limit=2) == ([4, 3], True)
    assert await page(limit=2, after_id=made[3]) == ([2, 1], True)
    assert await page(limit=2, after_id=made[1]) == ([0], False)
    assert await page(limit=2, before_id=made[0]) == ([2, 1], True)
    assert await page(limit=2, before_id=made[2], after_id="") == ([4, 3], False)
    assert await page(before_id=made[4]) == ([], False)
    assert await page(limit=1000) == ([4, 3, 2, 1, 0], False)


@pytest.mark.spec("anthropic-list")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=x", 400),
        ("after_id=msgbatch_nope", 404),
        ("before_id=nope", 404),
        ("after_id=a&before_id=b", 400),
    ],
)
async def test_bad_queries_of_a_list(gateway, query, status):
    """Each is named."""
    assert (await gateway.call("GET", f"{PATH}?{query}")).status == status


async def test_its_end_is_told_like_that_of_any_batch(telling, receiver):
    """The outbox knows no dialect."""
    await telling.client.webhooks.create(
        name="e", url=receiver.url, event_types=["batch.completed"]
    )
    batch = await create(telling, "a")
    await end(telling, batch, {"a": "succeeded"})

    assert await telling.store.address_events([], calls_back=False, now=1, limit=9)
    (told,) = await telling.store.list_deliveries(limit=9)
    assert told.event.batch_id == own(batch)


@pytest.mark.spec("anthropic-repeated-creates")
async def test_a_repeated_create_makes_no_second_batch(gateway):
    """By key, or as the package repeats it by itself."""
    keyed = [(await create(gateway, "a", **{"Idempotency-Key": "k"}))["id"] for _ in range(2)]
    resent = [
        (await create(gateway, "b", **{"x-stainless-retry-count": count}))["id"] for count in "01"
    ]
    body = {"requests": [request_of("other")]}
    clash = await gateway.call("POST", PATH, json=body, headers={"Idempotency-Key": "k"})

    assert keyed[0] == keyed[1]
    assert resent[0] == resent[1]
    assert (clash.status, clash.json["type"]) == (409, "error")
    assert len((await gateway.call("GET", PATH)).json["data"]) == 2
