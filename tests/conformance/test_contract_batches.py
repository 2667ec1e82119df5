"""The contract, section 3: create, show, list and cancel batches."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network

import pytest
from aiohttp import web
from inputs import requests
from media_host import WAV, MediaHost
from scripted import HANG, completion, error
from waiting import until

TRANSCRIPTIONS = "/v1/audio/transcriptions"
ENDPOINTS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    pytest.param("/v1/score", marks=pytest.mark.spec("beyond-endpoints")),
    pytest.param("/v1/rerank", marks=pytest.mark.spec("beyond-endpoints")),
    pytest.param("/v1/messages", marks=pytest.mark.spec("beyond-endpoints")),
    *(
        pytest.param(endpoint, marks=pytest.mark.spec("beyond-endpoints"))
        for endpoint in ("/v1/audio/transcriptions", "/v1/audio/translations")
    ),
    *(
        pytest.param(endpoint, marks=pytest.mark.spec("3.2-endpoints-others"))
        for endpoint in ("/v1/moderations", "/v1/images/generations", "/v1/images/edits")
    ),
]


@pytest.mark.spec("3.2-endpoints", "3.1-endpoint")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_each_endpoint_reaches_its_path(api, endpoint):
    """The batch names it, and its line goes to that path of the model server."""
    line = requests(1).replace(b"/v1/chat/completions", endpoint.encode())
    fields = (
        b'"input": "x", "prompt": "x", "max_tokens": 1, "file_url": "data:audio/wav;base64,AAAA", '
        b'"messages"'
    )
    line = line.replace(b'"messages"', fields)
    batch = await api.create(line, endpoint=endpoint)
    async with api.dispatching():
        ended = await api.ended(batch)

    assert (batch["endpoint"], ended["status"]) == (endpoint, "completed")
    assert api.upstream.paths == [endpoint]


@pytest.mark.spec("3.2-endpoints-others")
async def test_endpoints_that_no_batch_may_have_are_refused(api):
    """At once, with the list of those that it may have."""
    answer = await created(api, endpoint="/v1/videos")

    assert answer.status == 400
    assert answer.json["error"]["param"] == "endpoint"
    assert "'/v1/chat/completions'" in answer.json["error"]["message"]


@pytest.mark.spec("beyond-endpoints")
async def test_audio_that_a_line_names_goes_its_whole_way(api):
    """Fetched from a host that is allowed, sent as a form, and its text comes back."""
    async with MediaHost() as host:
        url = host.url(name="127.0.0.1")
        body = {"model": "m", "file_url": url, "response_format": "verbose_json"}
        line = {"custom_id": "a", "method": "POST", "url": TRANSCRIPTIONS, "body": body}
        batch = await api.create(json.dumps(line).encode(), endpoint=TRANSCRIPTIONS)
        loopback = ip_network("127.0.0.0/8")
        async with api.dispatching(media_hosts=("127.0.0.1",), media_networks=(loopback,)):
            ended = await api.ended(batch)

    (request,) = api.upstream.requests
    assert request.form["file"].content == WAV
    assert request.form["response_format"] == "verbose_json"
    assert ended["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    ((result,), _) = await api.results(ended)
    assert result["response"]["body"] == {"text": "Hello."}


@pytest.mark.spec("3.2-endpoints-others", "beyond-offered")
async def test_endpoints_that_no_model_server_has_are_refused(api):
    """As soon as the fleet was looked at, with the list of those that it has."""
    api.upstream.absent = {"/v1/moderations", "/v1/images/edits"}
    async with api.dispatching():

        async def is_looked_at():
            return (await api.call("GET", "/v1/models")).json["data"]

        await until(is_looked_at)
        refused = await created(api, endpoint="/v1/moderations")
        taken = await created(api, endpoint="/v1/images/generations")

    assert (refused.status, taken.status) == (400, 200)
    assert refused.json["error"]["param"] == "endpoint"
    offered = refused.json["error"]["message"].partition("Offered are: ")[2]
    assert "'/v1/images/generations'" in offered
    assert "'/v1/images/edits'" not in offered


async def created(api, **fields):
    """Try to create a batch with these fields; return the answer."""
    given = {
        "input_file_id": await api.store(requests(1)),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return await api.post("/v1/batches", **given | fields)


@pytest.mark.spec("3.2-metadata-characters")
@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({"k": "ž" * 512}, 200),
        ({"k": "😀" * 512}, 200),
        ({"ž" * 64: "v"}, 200),
        ({str(n): "v" for n in range(16)}, 200),
        ({"k": "ž" * 513}, 400),
        ({"ž" * 65: "v"}, 400),
    ],
    ids=["512", "512 emoji", "key of 64", "16 pairs", "513", "key of 65"],
)
async def test_metadata_is_measured_in_characters(api, metadata, status):
    """Two or four bytes a character make no difference."""
    answer = await created(api, metadata=metadata)

    assert answer.status == status
    if status == 200:
        assert answer.json["metadata"] == metadata


@pytest.mark.spec("3.2-output-expires-bounds")
@pytest.mark.parametrize(
    ("anchor", "seconds", "status"),
    [
        ("created_at", 3600, 200),
        ("created_at", 2592000, 200),
        ("created_at", 3599, 400),
        ("created_at", 2592001, 400),
        ("created_at", "3600", 400),
        ("created_at", 3600.5, 400),
        ("finished_at", 3600, 400),
        (None, 3600, 400),
    ],
)
async def test_result_expiry_has_bounds(api, anchor, seconds, status):
    """An hour to thirty days from creation, both ends allowed."""
    answer = await created(api, output_expires_after={"anchor": anchor, "seconds": seconds})

    assert answer.status == status
    if status == 400:
        assert answer.json["error"]["param"].startswith("output_expires_after.")


async def both_results(api, **fields):
    """Run a batch whose results come at least a second after its creation; return its Files."""

    def script(body, _):
        return error(400) if body["tag"] == "t1" else HANG

    async def a_second_later():
        return time.time() > batch["created_at"] + 1

    api.upstream.script = script
    batch = await api.create(requests(2), **fields)
    async with api.dispatching():
        await until(a_second_later)
        api.upstream.release.set()
        ended = await api.ended(batch)
    assert ended["completed_at"] > batch["created_at"]
    names = (ended["output_file_id"], ended["error_file_id"])
    return ended, [(await api.call("GET", f"/v1/files/{name}")).json for name in names]


@pytest.mark.spec("3.2-output-expires-after")
async def test_results_expire_as_asked(api):
    """Counted from the files' own creation, for both."""
    ended, files = await both_results(
        api, output_expires_after={"anchor": "created_at", "seconds": 3600}
    )

    for file in files:
        assert file["created_at"] == ended["completed_at"]
        assert file["expires_at"] == file["created_at"] + 3600


@pytest.mark.spec("6-kept-30-days", "6-file-object")
async def test_results_are_files_kept_for_thirty_days(api):
    """Purpose batch_output, named after the batch."""
    ended, files = await both_results(api)

    assert [file["filename"] for file in files] == [
        f"{ended['id']}_output.jsonl",
        f"{ended['id']}_error.jsonl",
    ]
    for file in files:
        assert (file["object"], file["purpose"]) == ("file", "batch_output")
        assert file["expires_at"] == file["created_at"] + 2_592_000
    listed = (await api.call("GET", "/v1/files?purpose=batch_output")).json["data"]
    assert {file["id"] for file in listed} == {file["id"] for file in files}


@pytest.mark.spec("3.2-fast")
async def test_creating_reads_no_line(api, tmp_path):
    """It answers although the bytes of the input are gone."""
    file = await api.upload(requests(10))
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()

    answer = await api.post(
        "/v1/batches",
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )

    assert (answer.status, answer.json["status"]) == (200, "validating")


@pytest.mark.spec("3.1-output-null", "3.1-error-file-null", "2.5-partial-output")
async def test_file_ids_are_null_until_the_end(api):
    """Also while most lines are done; then for ever where there is nothing to write."""
    api.upstream.script = lambda body, _: (
        HANG if body["tag"] == "t9" else web.json_response(completion())
    )
    batch = await api.create(requests(10))
    async with api.dispatching():

        async def nearly_done():
            return (await api.show(batch))["request_counts"]["completed"] == 9

        await until(nearly_done)
        running = await api.show(batch)
        api.upstream.release.set()
        ended = await api.ended(batch)

    assert (running["output_file_id"], running["error_file_id"]) == (None, None)
    assert ended["output_file_id"] is not None
    assert ended["error_file_id"] is None


@pytest.mark.spec("3.1-output-null", "3.5-all-failed")
async def test_a_batch_without_any_success_is_completed(api):
    """Counts {n, 0, n}, no output file, an error file."""
    api.upstream.script = lambda *_: error(400)
    batch = await api.create(requests(3))
    async with api.dispatching():
        ended = await api.ended(batch)

    assert (ended["status"], ended["output_file_id"]) == ("completed", None)
    assert ended["error_file_id"].startswith("file-")
    assert ended["request_counts"] == {"total": 3, "completed": 0, "failed": 3}


@pytest.mark.spec("3.1-model")
async def test_the_model_is_named_once_it_is_known(api):
    """Null while nobody has read the lines."""
    batch = await api.create(requests(1, model="m"))
    assert batch["model"] is None
    async with api.dispatching():
        assert (await api.ended(batch))["model"] == "m"


@pytest.mark.spec("3.1-usage", "3.1-usage-fields")
async def test_usage_sums_the_successes(api):
    """Failed lines add nothing, whatever their answer claims."""
    api.upstream.script = lambda body, _: web.json_response(
        completion() | ({"error": {"message": "no"}} if body["tag"] == "t2" else {}),
        status=400 if body["tag"] == "t2" else 200,
    )
    batch = await api.create(requests(3))
    async with api.dispatching():
        usage = (await api.ended(batch))["usage"]

    assert usage == {
        "input_tokens": 14,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20,
    }


@pytest.mark.spec("3.1-error-line", "3.1-error-fields", "3.1-errors-object", "3.1-errors-null")
async def test_errors_name_the_physical_line(api):
    """Blank lines count; a batch that may still run has no errors."""
    good = requests(2).splitlines()
    batch = await api.create(b"\n\n" + good[0] + b"\r\n\n{broken\n" + good[1])
    assert batch["errors"] is None
    async with api.dispatching():
        ended = await api.ended(batch)

    assert ended["errors"] == {
        "object": "list",
        "data": [
            {
                "code": "invalid_json_line",
                "line": 5,
                "message": "This line is not parseable as valid JSON.",
                "param": None,
            }
        ],
    }


@pytest.mark.spec("3.3-after", "4-has-more-boolean", "4-after-last")
async def test_batches_are_walked_to_their_end(api):
    """`has_more` is true or false and nothing else, and an empty page never promises more."""
    file = await api.store(requests(1))
    made = [(await api.create(input_file_id=file))["id"] for _ in range(5)]
    walked, after, more = [], "", True

    while more:
        page = (await api.call("GET", f"/v1/batches?limit=2{after}")).json
        walked += [batch["id"] for batch in page["data"]]
        more, after = page["has_more"], f"&after={page['last_id']}"
        assert more is True or more is False
        assert page["data"]

    assert walked == made[::-1]
    empty = (await api.call("GET", f"/v1/batches?x=1{after}")).json
    assert empty["data"] == []
    assert empty["has_more"] is False


@pytest.mark.spec("3.4-ended")
@pytest.mark.parametrize("end", ["completed", "failed", "expired"])
async def test_an_ended_batch_refuses_to_be_cancelled(api, end):
    """409 in OpenAI's words; the batch stays as it is."""
    api.upstream.script = lambda *_: HANG if end == "expired" else web.json_response(completion())
    batch = await api.create(
        b"{broken" if end == "failed" else requests(1),
        completion_window="1s" if end == "expired" else "24h",
    )
    async with api.dispatching():
        ended = await api.ended(batch)

    answer = await api.cancel(batch)

    assert ended["status"] == end
    assert answer.status == 409
    assert answer.json["error"] == {
        "message": f"Cannot cancel a batch with status '{end}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert await api.show(batch) == ended
