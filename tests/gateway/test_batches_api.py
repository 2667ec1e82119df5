"""The rules of `/v1/batches` as clients see them."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from sdk_shapes import OF_ONE

from batchline.api.endpoints import ENDPOINTS
from batchline.model import Fault, FleetReport
from batchline.states import BatchStatus, OutcomeKind

OK, BAD = OutcomeKind.SUCCEEDED, OutcomeKind.FAILED
BATCH_FIELDS = [
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "paused_at",
    "request_counts",
    "usage",
    "metadata",
]


async def fetch(gateway, batch_id):
    return (await gateway.call("GET", f"/v1/batches/{batch_id}")).json


@pytest.mark.spec(
    "3.1-every-field",
    "3.1-object",
    "3.1-endpoint",
    "3.1-counts-object",
    "3.1-errors-null",
    "3.1-metadata",
    "3.2-answer",
    "3.2-zero-counts",
    "3.2-expires-at",
    "3.3-show",
    "beyond-paused-at",
)
async def test_a_new_batch_has_every_field(gateway):
    """Create answers at once with a validating batch; what does not apply is null."""
    batch = await gateway.create_batch(metadata={"name": "nightly", "k": "ž" * 512})
    now = int(gateway.clock())

    shown = await fetch(gateway, batch.id)

    assert [name for name in shown if name not in OF_ONE] == BATCH_FIELDS
    assert {name: shown[name] for name in BATCH_FIELDS} == dict.fromkeys(BATCH_FIELDS) | {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": "validating",
        "created_at": now,
        "expires_at": now + 86400,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": {"name": "nightly", "k": "ž" * 512},
    }
    assert batch.id.startswith("batch_")
    assert batch.request_counts.total == 0


@pytest.mark.spec("3.1-model", "3.1-usage", "3.1-usage-fields")
async def test_a_completed_batch_has_files_counts_and_usage(gateway):
    """The terminal answer carries everything together."""
    batch = await gateway.create_batch()
    gateway.clock.advance(5)
    await gateway.run(batch.id, OK, OK, BAD)
    now = int(gateway.clock())

    shown = await fetch(gateway, batch.id)

    assert shown["status"] == "completed"
    assert shown["model"] == "m"
    assert (shown["in_progress_at"], shown["finalizing_at"], shown["completed_at"]) == (now,) * 3
    assert shown["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert shown["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 16,
    }
    assert shown["output_file_id"].startswith("file-output")
    assert shown["error_file_id"].startswith("file-error")
    parsed = await gateway.client.batches.retrieve(batch.id)
    assert parsed.usage.total_tokens == 16


@pytest.mark.spec("3.5-all-failed", "3.1-usage-ended")
async def test_an_all_failed_batch_is_completed_without_output(gateway):
    """No success: output_file_id stays null, usage is zeros, the status is completed."""
    batch = await gateway.create_batch()
    await gateway.run(batch.id, BAD)

    shown = await fetch(gateway, batch.id)

    assert (shown["status"], shown["output_file_id"]) == ("completed", None)
    assert shown["usage"]["total_tokens"] == 0
    assert shown["error_file_id"] is not None
    assert shown["request_counts"] == {"total": 1, "completed": 0, "failed": 1}


@pytest.mark.spec("3.1-errors-object", "3.1-error-fields", "3.5-failed")
async def test_a_rejected_batch_lists_its_faults(gateway):
    """`errors` is an object with all faults, counts stay zero."""
    batch = await gateway.create_batch()
    stored = await gateway.store.get_batch(batch.id)
    faults = [
        Fault("invalid_json_line", "This line is not parseable as valid JSON.", line=2),
        Fault("missing_required_parameter", "Missing.", line=3, param="url"),
    ]
    await gateway.store.reject(stored, faults, now=int(gateway.clock()))

    shown = await fetch(gateway, batch.id)

    assert shown["status"] == "failed"
    assert shown["failed_at"] == int(gateway.clock())
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert shown["errors"] == {
        "object": "list",
        "data": [
            {
                "code": "invalid_json_line",
                "line": 2,
                "message": "This line is not parseable as valid JSON.",
                "param": None,
            },
            {
                "code": "missing_required_parameter",
                "line": 3,
                "message": "Missing.",
                "param": "url",
            },
        ],
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_offered_endpoints_are_accepted(gateway, endpoint):
    """Each endpoint of the settings can be named."""
    assert (await gateway.create_batch(endpoint=endpoint)).endpoint == endpoint


@pytest.mark.spec("3.2-window-24h", "3.2-window-others-refused", "beyond-windows")
@pytest.mark.parametrize(
    ("window", "seconds"),
    [("24h", 86400), ("1h", 3600), ("48h", 172800), ("14d", 1209600), ("336h", 1209600)],
)
async def test_completion_windows(gateway, window, seconds):
    """A window of 1 h to 14 d sets the deadline."""
    batch = await gateway.create_batch(completion_window=window)

    assert batch.completion_window == window
    assert batch.expires_at == batch.created_at + seconds


@pytest.mark.spec("beyond-windows")
@pytest.mark.parametrize(
    ("lowest_s", "window", "seconds"),
    [
        (5, "5s", 5),
        (5, "90s", 90),
        (1, "1s", 1),
        (600, "10m", 600),
        (60, "1209600s", 1209600),
        (5, "24h", 86400),
        (86400, "1d", 86400),
        (5400, "2h", 7200),
    ],
)
async def test_the_shortest_window_is_a_setting(starts, lowest_s, window, seconds):
    """Below an hour, seconds and minutes exist too."""
    gateway = await starts(min_completion_window_s=lowest_s)

    batch = await gateway.create_batch(completion_window=window)

    assert batch.expires_at == batch.created_at + seconds


@pytest.mark.spec("3.2-window-error", "beyond-windows")
@pytest.mark.parametrize(
    ("lowest_s", "window", "units", "shortest"),
    [
        (3600, "3600s", "hours or days", "1h"),
        (3600, "60m", "hours or days", "1h"),
        (5400, "1h", "hours or days", "2h"),
        (86400, "23h", "hours or days", "24h"),
        (5, "4s", "seconds, minutes, hours or days", "5s"),
        (600, "599s", "seconds, minutes, hours or days", "10m"),
        (5, "1209601s", "seconds, minutes, hours or days", "5s"),
        (5, "5S", "seconds, minutes, hours or days", "5s"),
        (5, "05s", "seconds, minutes, hours or days", "5s"),
        (5, "1.5h", "seconds, minutes, hours or days", "5s"),
        (5, "-5s", "seconds, minutes, hours or days", "5s"),
        (5, "1w", "seconds, minutes, hours or days", "5s"),
    ],
)
async def test_windows_out_of_bounds_are_refused(starts, lowest_s, window, units, shortest):
    """400 names the parameter and what is allowed here."""
    gateway = await starts(min_completion_window_s=lowest_s)

    with pytest.raises(openai.BadRequestError) as caught:
        await gateway.create_batch(completion_window=window)

    assert (caught.value.param, caught.value.code) == ("completion_window", "invalid_value")
    message = f"'24h', or any whole number of {units} from '{shortest}' to '14d'."
    assert caught.value.body["message"].endswith(message)


@pytest.mark.spec("3.1-metadata", "3.1-metadata-null", "3.2-metadata-optional")
@pytest.mark.parametrize("metadata", [None, {}, {"a": ""}, {"k" * 64: "v", "nul": "\x00\n\u2028"}])
async def test_metadata_is_kept_as_sent(gateway, metadata):
    """Metadata comes back as it was sent; null when absent."""
    batch = await gateway.create_batch(metadata=metadata)

    assert (await fetch(gateway, batch.id))["metadata"] == metadata


async def test_result_expiry_is_stored(gateway):
    """`output_expires_after` reaches the store, where the dispatcher finds it."""
    batch = await gateway.create_batch(
        output_expires_after={"anchor": "created_at", "seconds": 7200}
    )

    assert (await gateway.store.get_batch(batch.id)).output_expires_after_s == 7200


@pytest.mark.spec("beyond-on-failures")
@pytest.mark.parametrize(
    ("setting", "given", "kept"),
    [
        ("continue", {}, "continue"),
        ("continue", {"on_failures": "pause"}, "pause"),
        ("pause", {}, "pause"),
        ("pause", {"on_failures": None}, "pause"),
        ("pause", {"on_failures": "continue"}, "continue"),
    ],
)
async def test_what_happens_on_failures_is_asked_for_or_set(starts, setting, given, kept):
    """The batch's own word counts; without one that of the setting."""
    gateway = await starts(on_failures=setting)

    batch = await gateway.create_batch(extra_body=given)

    assert (await gateway.store.get_batch(batch.id)).on_failures == kept


@pytest.mark.spec("beyond-failing")
@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([BAD] * 51 + [OK] * 49, "Most lines fail: 400: prompt # is too long"),
        ([BAD] * 50 + [OK] * 50, None),
        ([BAD] * 99, None),
    ],
    ids=["most of a hundred", "half of a hundred", "all of ninety-nine"],
)
async def test_a_running_batch_of_which_most_lines_fail_says_so(gateway, kinds, told):
    """From a hundred finished lines on, shown and listed alike; not once it is paused."""
    batch = await gateway.create_batch()
    await gateway.run(batch.id, *kinds, left=1)
    report = FleetReport(at=int(gateway.clock()), failing={batch.id: "400: prompt # is too long"})
    await gateway.store.report(report)

    shown = await fetch(gateway, batch.id)
    listed = (await gateway.call("GET", "/v1/batches")).json["data"]
    paused = (await gateway.call("POST", f"/v1/batches/{batch.id}/pause")).json

    assert shown.get("failing") == told
    assert listed == [{name: value for name, value in shown.items() if name not in OF_ONE}]
    assert "failing" not in paused


async def test_without_a_report_it_says_only_that_most_lines_fail(gateway):
    """A dispatcher that has just started does not know what failed before."""
    batch = await gateway.create_batch()
    await gateway.run(batch.id, *[BAD] * 100, left=1)

    assert (await fetch(gateway, batch.id))["failing"] == "Most lines fail."


@pytest.mark.spec("beyond-on-failures")
@pytest.mark.parametrize("given", ["continue", "pause"])
async def test_a_batch_says_that_it_pauses_on_failures(gateway, given):
    """As at OpenAI, nothing is said where nothing is to happen."""
    batch = await gateway.create_batch(extra_body={"on_failures": given})

    shown = await fetch(gateway, batch.id)

    assert shown.get("on_failures") == ("pause" if given == "pause" else None)


@pytest.mark.spec("beyond-on-failures")
@pytest.mark.parametrize("given", ["stop", "", "PAUSE", 1, True, ["pause"]])
async def test_another_word_for_failures_is_refused(gateway, given):
    """As of other enumerations."""
    with pytest.raises(openai.BadRequestError) as caught:
        await gateway.create_batch(extra_body={"on_failures": given})

    assert caught.value.param == "on_failures"
    assert caught.value.code == ("invalid_value" if isinstance(given, str) else "invalid_type")


@pytest.mark.spec("3.2-extra-fields")
async def test_unknown_fields_are_ignored(gateway):
    """`extra_body` does no harm."""
    assert (await gateway.create_batch(extra_body={"priority": "low"})).status == "validating"


@pytest.mark.spec("3.2-file-reused")
async def test_one_file_may_serve_many_batches(gateway):
    """Each create makes its own batch."""
    file = await gateway.upload()

    made = {(await gateway.create_batch(input_file_id=file.id)).id for _ in range(3)}

    assert len(made) == 3


ENDPOINT_MESSAGE = (
    "Invalid value: '/v1/x'. Supported values are: "
    + ", ".join(f"'{e}'" for e in ENDPOINTS[:-1])
    + f", and '{ENDPOINTS[-1]}'."
)
MISSING, TYPE, VALUE = "missing_required_parameter", "invalid_type", "invalid_value"
ABSENT = object()
CREATE_FAULTS = [
    (
        "input_file_id",
        ABSENT,
        "input_file_id",
        MISSING,
        "Missing required parameter: 'input_file_id'.",
    ),
    ("endpoint", ABSENT, "endpoint", MISSING, "Missing required parameter: 'endpoint'."),
    ("completion_window", ABSENT, "completion_window", MISSING, "'completion_window'."),
    (
        "input_file_id",
        ["a"],
        "input_file_id",
        TYPE,
        "Invalid type for 'input_file_id': expected a string, but got an array instead.",
    ),
    ("input_file_id", None, "input_file_id", TYPE, "expected a string, but got null instead."),
    ("input_file_id", 5, "input_file_id", TYPE, "but got an integer instead."),
    ("input_file_id", "file-x", "file_id", None, "Cannot find file file-x,"),
    ("input_file_id", "x" * 9999, "file_id", None, "x" * 200 + "…, or it"),
    ("input_file_id", "", "file_id", None, "Cannot find file ,"),
    ("endpoint", "/v1/x", "endpoint", VALUE, ENDPOINT_MESSAGE),
    ("endpoint", "/v1/chat/completions/", "endpoint", VALUE, "Invalid value"),
    ("endpoint", "/v1/Chat/completions", "endpoint", VALUE, "Invalid value"),
    ("endpoint", "http://h/v1/chat/completions", "endpoint", VALUE, "Invalid value"),
    ("endpoint", True, "endpoint", TYPE, "but got a boolean instead."),
    ("completion_window", "", "completion_window", VALUE, "Invalid value: ''."),
    ("completion_window", "invalid", "completion_window", VALUE, "'24h'"),
    ("completion_window", "0h", "completion_window", VALUE, "'1h' to '14d'"),
    ("completion_window", "15d", "completion_window", VALUE, "'1h' to '14d'"),
    ("completion_window", "337h", "completion_window", VALUE, "'1h' to '14d'"),
    ("completion_window", "24h\n", "completion_window", VALUE, "Invalid value"),
    ("completion_window", "٢h", "completion_window", VALUE, "Invalid value"),
    ("completion_window", 24, "completion_window", TYPE, "but got an integer instead."),
    ("metadata", [], "metadata", TYPE, "expected an object, but got an array instead."),
    ("metadata", "x", "metadata", TYPE, "expected an object, but got a string instead."),
    (
        "metadata",
        {"tags": ["a"]},
        "metadata.tags",
        TYPE,
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
    ),
    ("metadata", {"n": 1.5}, "metadata.n", TYPE, "but got a decimal instead."),
    ("metadata", {"n": None}, "metadata.n", TYPE, "but got null instead."),
    (
        "metadata",
        {str(i): "" for i in range(17)},
        "metadata",
        "object_above_max_properties",
        "at most 16 properties, but got an object with 17 properties instead.",
    ),
    ("metadata", {"k" * 65: ""}, "metadata", "property_name_above_max_length", "length 65"),
    (
        "metadata",
        {"k": "v" * 513},
        "metadata.k",
        "string_above_max_length",
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got "
            "a string with length 513 instead."
        ),
    ),
    ("output_expires_after", 3600, "output_expires_after", TYPE, "expected an object"),
    ("output_expires_after", {"seconds": 3600}, "output_expires_after.anchor", MISSING, "anchor"),
    (
        "output_expires_after",
        {"anchor": "created_at"},
        "output_expires_after.seconds",
        MISSING,
        "seconds",
    ),
    (
        "output_expires_after",
        {"anchor": "end", "seconds": 3600},
        "output_expires_after.anchor",
        VALUE,
        "'created_at'.",
    ),
    (
        "output_expires_after",
        {"anchor": "created_at", "seconds": 3599},
        "output_expires_after.seconds",
        "integer_below_min_value",
        "Expected a value >= 3600, but got 3599 instead.",
    ),
    (
        "output_expires_after",
        {"anchor": "created_at", "seconds": 2592001},
        "output_expires_after.seconds",
        "integer_above_max_value",
        "Expected a value <= 2592000, but got 2592001 instead.",
    ),
    (
        "output_expires_after",
        {"anchor": "created_at", "seconds": True},
        "output_expires_after.seconds",
        TYPE,
        "expected an integer, but got a boolean instead.",
    ),
]


@pytest.mark.spec(
    "1-param-missing",
    "1-param-type",
    "1-param-enum",
    "1-param-above",
    "1-param-below",
    "1-param-too-long",
    "3.2-input-required",
    "3.2-endpoint-required",
    "3.2-window-required",
    "3.2-endpoint-error",
    "3.2-endpoint-exact",
    "3.2-window-error",
    "3.2-metadata-pairs",
    "3.2-metadata-key-length",
    "3.2-metadata-value-length",
    "3.2-metadata-type",
    "3.2-output-expires-bounds",
    "3.2-unknown-file",
)
@pytest.mark.parametrize(("name", "value", "param", "code", "message"), CREATE_FAULTS)
async def test_bad_create_bodies_are_refused(gateway, name, value, param, code, message):
    """Each fault is a 400 with OpenAI's param, code and words, and makes no batch."""
    body = {
        "input_file_id": (await gateway.upload()).id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        name: value,
    }
    body = {k: v for k, v in body.items() if v is not ABSENT}

    answer = await gateway.call("POST", "/v1/batches", json=body)

    error = answer.json["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert message in error["message"]
    assert (await gateway.client.batches.list()).data == []


@pytest.mark.spec("1-body-not-json")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b"[]",
        b'"x"',
        b"null",
        b'{"a": NaN}',
        b"\xff\xfe{}",
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": 1} {}',
    ],
    ids=range(12),
)
async def test_bodies_that_are_no_json_object_are_refused(gateway, body):
    """The message is OpenAI's, the code null."""
    answer = await gateway.call(
        "POST", "/v1/batches", data=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status == 400
    error = answer.json["error"]
    assert error["message"].startswith("We could not parse the JSON body of your request. ")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


async def test_json_bodies_are_limited_to_a_megabyte(gateway):
    """A huge create body is refused without being read."""
    answer = await gateway.call("POST", "/v1/batches", data=b"{" + b" " * 2_000_000 + b"}")

    assert answer.status == 413
    assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.mark.spec("3.2-other-purpose")
@pytest.mark.parametrize("purpose", ["user_data", "fine-tune"])
async def test_files_of_other_purposes_are_refused(gateway, purpose):
    """A file that was not uploaded for a batch never runs."""
    file = await gateway.upload(purpose=purpose)

    with pytest.raises(openai.BadRequestError, match=f"its purpose is '{purpose}'") as caught:
        await gateway.create_batch(input_file_id=file.id)

    assert caught.value.param == "file_id"


@pytest.mark.spec("3.2-unknown-file")
async def test_deleted_and_expired_inputs_are_unknown(gateway):
    """What is gone cannot start a batch."""
    deleted, expired = await gateway.upload(), await gateway.upload()
    await gateway.client.files.delete(deleted.id)
    gateway.clock.advance(31 * 86400)

    for file in (deleted, expired):
        with pytest.raises(openai.BadRequestError, match="Cannot find file"):
            await gateway.create_batch(input_file_id=file.id)


@pytest.mark.spec("3.3-unknown", "3.4-unknown")
async def test_an_unknown_batch_is_not_found(gateway):
    """Show and cancel name the id."""
    for method, path in [("GET", "/v1/batches/batch_x"), ("POST", "/v1/batches/batch_x/cancel")]:
        answer = await gateway.call(method, path)
        assert answer.status == 404
        assert answer.json["error"]["message"] == "No batch found with id 'batch_x'."
        assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.mark.spec("2.4-delete-of-finished")
async def test_deleting_input_and_output_leaves_the_batch_unchanged(gateway):
    """A finished batch goes on naming its files."""
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OK)
    before = await fetch(gateway, batch.id)

    await gateway.client.files.delete(before["input_file_id"])
    await gateway.client.files.delete(before["output_file_id"])

    assert await fetch(gateway, batch.id) == before


@pytest.mark.spec("3.3-newest-first", "3.3-after", "4-each-once", "4-new-arrivals")
async def test_the_stock_client_walks_all_batches_once(gateway):
    """Newest first, each once, while new ones arrive."""
    made = [(await gateway.create_batch()).id for _ in range(5)]
    walked = []

    async for batch in gateway.client.batches.list(limit=2):
        walked.append(batch.id)
        await gateway.create_batch()

    assert walked == made[::-1]


@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_a_walk_may_delete_the_batches_it_sees(gateway, limit):
    """As of files: the next page begins behind a batch that is gone."""
    made = [(await gateway.create_batch()).id for _ in range(5)]
    for batch_id in made:
        await gateway.run(batch_id, OutcomeKind.SUCCEEDED)

    async for batch in gateway.client.batches.list(limit=limit):
        assert (await gateway.call("DELETE", f"/v1/batches/{batch.id}")).status == 200
        made.remove(batch.id)

    assert made == []


@pytest.mark.spec("3.3-limit-default", "3.3-limit-100", "4-first-last")
async def test_the_default_page_holds_twenty(gateway):
    """Default limit 20, at most 100."""
    file = await gateway.upload()
    for _ in range(21):
        await gateway.create_batch(input_file_id=file.id)

    page = (await gateway.call("GET", "/v1/batches")).json
    whole = (await gateway.call("GET", "/v1/batches?limit=100")).json

    assert (len(page["data"]), page["has_more"]) == (20, True)
    assert (len(whole["data"]), whole["has_more"]) == (21, False)
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][19]["id"])


@pytest.mark.spec("beyond-list-status", "4-first-last")
async def test_a_list_may_be_of_some_statuses_only(gateway):
    """Several are joined; the pages go on behind the last one shown, whatever lies between."""
    file = await gateway.upload()
    made = [(await gateway.create_batch(input_file_id=file.id)).id for _ in range(6)]
    for batch_id in made[::2]:
        await gateway.run(batch_id, OK)
    await cancel(gateway, made[1])

    async def listed(query):
        page = (await gateway.call("GET", f"/v1/batches?{query}")).json
        return [made.index(batch["id"]) for batch in page["data"]], page["has_more"]

    assert await listed("status=completed") == ([4, 2, 0], False)
    assert await listed("status=completed&limit=2") == ([4, 2], True)
    assert await listed(f"status=completed&limit=2&after={made[2]}") == ([0], False)
    assert await listed("status=completed&status=cancelling&limit=3") == ([4, 2, 1], True)
    assert await listed("status=expired") == ([], False)


@pytest.mark.spec("beyond-list-status")
@pytest.mark.parametrize("wanted", ["validating", ["validating", "completed"]])
async def test_the_stock_client_lists_some_statuses_only(gateway, wanted):
    """It writes a list as `status[]`."""
    file = await gateway.upload()
    made = [(await gateway.create_batch(input_file_id=file.id)).id for _ in range(4)]
    await cancel(gateway, made[2])

    walked = gateway.client.batches.list(limit=1, extra_query={"status": wanted})

    assert [made.index(batch.id) async for batch in walked] == [3, 1, 0]


@pytest.mark.spec("beyond-list-status")
@pytest.mark.parametrize("status", ["running", "", "COMPLETED", "completed,failed", "completed%00"])
async def test_a_status_that_is_none_is_refused(gateway, status):
    """Also beside a good one: to leave it out would list what nobody asked for."""
    answer = await gateway.call("GET", f"/v1/batches?status=failed&status={status}")

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (400, "status", "invalid_value")
    assert error["message"].endswith(
        "Supported values are: 'validating', 'failed', 'in_progress', 'finalizing', 'completed', "
        "'expired', 'cancelling', and 'cancelled'."
    )


@pytest.mark.spec(
    "3.3-limit-zero", "3.3-limit-above", "3.3-limit-below", "3.3-limit-no-number", "3.3-after"
)
@pytest.mark.parametrize(
    ("query", "status", "param", "code", "message"),
    [
        (
            "limit=101",
            400,
            "limit",
            "integer_above_max_value",
            (
                "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 "
                "instead."
            ),
        ),
        ("limit=0", 400, "limit", "integer_below_min_value", "Expected a value >= 1, but got 0"),
        ("limit=-1", 400, "limit", "integer_below_min_value", "Expected a value >= 1"),
        ("limit=abc", 400, "limit", "invalid_type", "expected an integer"),
        ("after=batch_x", 404, "after", None, "No batch found with id 'batch_x'."),
    ],
)
async def test_bad_batch_list_queries_are_refused(gateway, query, status, param, code, message):
    """Bad queries name the parameter and the rule."""
    answer = await gateway.call("GET", f"/v1/batches?{query}")

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (status, param, code)
    assert message in error["message"]


async def cancel(gateway, batch_id):
    """Cancel as the SDKs do: JSON content type, no body."""
    return await gateway.call(
        "POST", f"/v1/batches/{batch_id}/cancel", headers={"Content-Type": "application/json"}
    )


@pytest.mark.spec(
    "3.4-empty-json-body",
    "3.4-validating",
    "3.4-in-progress",
    "3.4-finalizing",
    "3.4-cancelling",
)
@pytest.mark.parametrize(
    "state", [BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING]
)
async def test_an_open_batch_can_be_cancelled(gateway, state):
    """The very answer shows cancelling and its time; a second cancel changes nothing."""
    batch = await gateway.create_batch()
    if state != BatchStatus.VALIDATING:
        await gateway.run(batch.id, OK, until=state)
    gateway.clock.advance(10)

    first = await cancel(gateway, batch.id)
    gateway.clock.advance(10)
    second = await cancel(gateway, batch.id)

    assert first.status == second.status == 200
    assert first.json["status"] == "cancelling"
    assert first.json["cancelling_at"] == int(gateway.clock()) - 10
    assert second.json == first.json


@pytest.mark.spec("3.4-cancelled")
async def test_a_cancelled_batch_can_be_cancelled_again(gateway):
    """Cancelling what is cancelled is no error."""
    batch = await gateway.create_batch()
    await gateway.client.batches.cancel(batch.id)
    await gateway.close(batch.id, BatchStatus.CANCELLED)

    answer = await cancel(gateway, batch.id)

    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert answer.json["cancelled_at"] is not None
    assert answer.json == await fetch(gateway, batch.id)


async def ended(gateway, status):
    """Bring a new batch to one of the ends."""
    batch = await gateway.create_batch()
    if status == BatchStatus.FAILED:
        stored = await gateway.store.get_batch(batch.id)
        await gateway.store.reject(stored, [Fault("c", "m")], now=int(gateway.clock()))
    elif status == BatchStatus.EXPIRED:
        await gateway.run(batch.id, OK, until=BatchStatus.IN_PROGRESS)
        gateway.clock.advance(86401)
        await gateway.store.lapse(now=int(gateway.clock()))
        await gateway.close(batch.id, status)
    else:
        await gateway.run(batch.id, OK)
    return batch.id


@pytest.mark.spec("1-should-retry-409", "3.4-ended")
@pytest.mark.parametrize("status", ["completed", "failed", "expired"])
async def test_an_ended_batch_cannot_be_cancelled(gateway, status):
    """409 with OpenAI's words, and the SDKs are told not to repeat it."""
    batch_id = await ended(gateway, BatchStatus(status))
    before = await fetch(gateway, batch_id)
    assert before["status"] == status

    answer = await cancel(gateway, batch_id)

    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json["error"] == {
        "message": f"Cannot cancel a batch with status '{status}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert await fetch(gateway, batch_id) == before


@pytest.mark.spec("1-should-retry-409")
async def test_the_stock_client_does_not_repeat_a_final_409(gateway):
    """With its default retries the SDK asks once."""
    batch_id = await ended(gateway, BatchStatus.COMPLETED)

    with pytest.raises(openai.ConflictError):
        await gateway.client.with_options(max_retries=2).batches.cancel(batch_id)

    route = "/v1/batches/{batch_id}/cancel"
    sample = gateway.metrics.registry.get_sample_value
    labels = {"route": route, "method": "POST", "code": "409"}
    assert sample("batchline_http_requests_total", labels) == 1


def use_blocking_client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        file = client.files.create(file=b'{"custom_id":"a"}\n', purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
        )
        return {
            "shown": client.batches.retrieve(batch.id).status,
            "listed": [b.id for b in client.batches.list()] == [batch.id],
            "cancelled": client.batches.cancel(batch.id).status,
            "content": json.loads(client.files.content(file.id).text),
        }


async def test_the_synchronous_client_works_too(gateway):
    """Upload, create, poll, list and cancel with the blocking client, as the README does."""
    seen = await asyncio.to_thread(use_blocking_client, gateway.url)

    assert seen == {
        "shown": "validating",
        "listed": True,
        "cancelled": "cancelling",
        "content": {"custom_id": "a"},
    }


@pytest.mark.spec("beyond-delete-open")
async def test_by_setting_an_open_batch_is_not_deleted_but_refused(starts):
    """409 with the remedy; nothing happens to it."""
    gateway = await starts(delete_cancels=False)
    batch = await gateway.create_batch()

    refused = await gateway.call("DELETE", f"/v1/batches/{batch.id}")

    assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")
    assert refused.json["error"]["message"] == (
        "Cannot delete a batch with status 'validating': it has not ended. Cancel it first, or wait "
        "for its end."
    )
    assert (await fetch(gateway, batch.id))["status"] == "validating"


@pytest.mark.parametrize("cancels", [True, False])
async def test_an_unknown_batch_is_neither_deleted_nor_cancelled(starts, cancels):
    """404, whatever the setting."""
    gateway = await starts(delete_cancels=cancels)

    assert (await gateway.call("DELETE", "/v1/batches/batch_x")).status == 404
