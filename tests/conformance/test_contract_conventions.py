"""The contract, section 1: headers, errors, ids, times."""

from __future__ import annotations

import json
import re
import sqlite3
import time

import openai
import pytest
from aiohttp import web
from inputs import requests
from scripted import completion, error

REFUSALS = {
    "unknown file": ("GET", "/v1/files/file-x", {}, 404),
    "unknown content": ("GET", "/v1/files/file-x/content", {}, 404),
    "unknown file to delete": ("DELETE", "/v1/files/file-x", {}, 404),
    "unknown batch": ("GET", "/v1/batches/batch_x", {}, 404),
    "unknown batch to cancel": ("POST", "/v1/batches/batch_x/cancel", {}, 404),
    "unknown model": ("GET", "/v1/models/m", {}, 404),
    "unknown route": ("GET", "/v1/nope", {}, 404),
    "unknown cursor": ("GET", "/v1/batches?after=batch_x", {}, 404),
    "wrong method": ("PUT", "/v1/files", {}, 405),
    "limit": ("GET", "/v1/batches?limit=101", {}, 400),
    "file limit": ("GET", "/v1/files?limit=0", {}, 400),
    "order": ("GET", "/v1/files?order=up", {}, 400),
    "empty body": ("POST", "/v1/batches", {"data": b""}, 400),
    "no JSON": ("POST", "/v1/batches", {"data": b"{"}, 400),
    "empty object": ("POST", "/v1/batches", {"json": {}}, 400),
    "wrong type": ("POST", "/v1/batches", {"json": {"input_file_id": 1}}, 400),
    "no form": ("POST", "/v1/files", {"json": {}}, 400),
    "huge body": ("POST", "/v1/batches", {"data": b" " * 2_000_000}, 413),
}


@pytest.mark.spec("1-json-content-type", "1-error-object", "1-error-400-not-422")
@pytest.mark.parametrize(
    ("method", "path", "sent", "status"), REFUSALS.values(), ids=REFUSALS.keys()
)
async def test_every_refusal_is_the_error_object(api, method, path, sent, status):
    """All four keys, of the right types, as JSON, under the right status."""
    answer = await api.call(method, path, **sent)

    assert answer.status == status
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    for name in ("message", "type"):
        assert isinstance(answer.json["error"][name], str)
        assert answer.json["error"][name]
    for name in ("param", "code"):
        assert answer.json["error"][name] is None or answer.json["error"][name]


@pytest.mark.spec("1-json-content-type")
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/models"])
async def test_every_object_is_json(api, path):
    """Lists and objects say what they are."""
    file = await api.upload()

    for where in (path, f"/v1/files/{file.id}"):
        answer = await api.call("GET", where)
        assert answer.status == 200
        assert answer.headers["Content-Type"].split(";")[0] == "application/json"


@pytest.mark.spec("1-error-classes", "1-error-unwrapped")
async def test_the_sdk_raises_by_status(open_api, tmp_path):
    """Each class of the SDK, with code, param and type of the error object."""
    async with open_api(api_key="sk-right") as api:
        wrong = api.client.with_options(api_key="sk-wrong")
        with pytest.raises(openai.AuthenticationError) as refused:
            await wrong.files.list()
        with pytest.raises(openai.BadRequestError) as bad:
            await api.client.batches.list(limit=101)
        with pytest.raises(openai.NotFoundError) as unknown:
            await api.client.files.retrieve("file-x")
        sqlite3.connect(api.settings.database_path).execute("DROP TABLE files").connection.close()
        with pytest.raises(openai.InternalServerError) as broken:
            await api.client.files.retrieve("file-x")

    assert refused.value.code == "invalid_api_key"
    assert (bad.value.param, bad.value.code) == ("limit", "integer_above_max_value")
    assert bad.value.type == "invalid_request_error"
    assert str(bad.value).startswith("Error code: 400 - ")
    assert "Expected a value <= 100" in str(bad.value)
    assert unknown.value.param == "id"
    assert broken.value.type == "server_error"


@pytest.mark.spec("1-error-classes")
async def test_the_sdk_raises_a_conflict(api):
    """409 is ConflictError."""
    batch = await api.create(requests(1))
    async with api.dispatching():
        await api.ended(batch)

    with pytest.raises(openai.ConflictError):
        await api.client.batches.cancel(batch["id"])


@pytest.mark.spec("1-auth-right-key")
async def test_the_right_key_opens_every_route(open_api):
    """Upload, download, lists, batches, models and an unknown route: none asks for another key."""
    async with open_api(api_key="sk-right") as api:
        file = await api.upload()
        batch = await api.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await api.client.batches.cancel(batch.id)).status == "cancelling"
        assert (await api.client.files.content(file.id)).content == requests(1)
        assert [b.id async for b in api.client.batches.list()] == [batch.id]
        assert [m async for m in api.client.models.list()] == []
        assert (await api.client.files.delete(file.id)).deleted


SDK_HEADERS = {
    "accept": "application/binary",
    "user-agent": "AsyncOpenAI/Python 3.52.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "3.52.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.13.0",
    "x-stainless-async": "async:asyncio",
    "x-stainless-retry-count": "2",
    "x-stainless-read-timeout": "600",
    "OpenAI-Organization": "org-x",
    "OpenAI-Project": "proj-x",
}


@pytest.mark.spec("1-sdk-headers-ignored", "1-accept-ignored")
async def test_the_sdks_headers_change_nothing(api):
    """The same answers with and without them."""
    batch = await api.create(requests(1))
    paths = ["/v1/files", "/v1/batches", "/v1/models", f"/v1/batches/{batch['id']}", "/v1/nope"]

    for path in paths:
        plain = await api.call("GET", path)
        dressed = await api.call("GET", path, headers=SDK_HEADERS)
        assert (dressed.status, dressed.body) == (plain.status, plain.body)


@pytest.mark.spec("1-accept-ignored")
@pytest.mark.parametrize("accept", ["text/html", "image/png", "*/*;q=0", "nonsense"])
async def test_no_accept_header_is_refused(api, accept):
    """406 is never an answer."""
    file = await api.upload()

    for path in (f"/v1/files/{file.id}", f"/v1/files/{file.id}/content", "/v1/batches"):
        assert (await api.call("GET", path, headers={"Accept": accept})).status == 200


@pytest.mark.spec("1-processing-ms")
async def test_answers_tell_how_long_they_took(api):
    """Whole milliseconds, on good answers and on errors."""
    for path in ("/v1/files", "/v1/files/file-x", "/v1/nope"):
        answer = await api.call("GET", path)
        assert 0 <= int(answer.headers["openai-processing-ms"]) < 60_000


@pytest.fixture
async def mixed(api):
    """A batch that ended with both result files, and everything that has an id."""
    api.upstream.script = lambda body, _: (
        error(400) if body["tag"] == "t1" else web.json_response(completion())
    )
    batch = await api.create(requests(3))
    async with api.dispatching():
        batch = await api.ended(batch)
    output, errors = await api.results(batch)
    return batch, [line["id"] for line in output + errors]


@pytest.mark.spec("1-id-forms", "1-id-url-safe")
async def test_ids_look_like_openais(mixed):
    """Files, batches and result lines; nothing but letters, digits, hyphen and underscore."""
    batch, lines = mixed

    for name in ("input_file_id", "output_file_id", "error_file_id"):
        assert re.fullmatch(r"file-[A-Za-z0-9]{22}", batch[name])
    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch["id"])
    assert len(lines) == 3
    for name in lines:
        assert re.fullmatch(r"batch_req_[A-Za-z0-9]{24,32}", name)


@pytest.mark.spec("1-times", "3.1-created-at", "3.1-stamps")
async def test_times_are_whole_seconds_of_now(api, mixed):
    """In JSON they are integers, not decimals, strings or milliseconds."""
    batch, _ = mixed
    file = (await api.call("GET", f"/v1/files/{batch['output_file_id']}")).json

    for thing in (batch, file):
        for name, value in thing.items():
            if name.endswith("_at") and value is not None:
                assert type(value) is int, name
    for value in (batch["created_at"], batch["completed_at"], file["created_at"]):
        assert abs(value - time.time()) < 300
    stamps = {name for name, value in batch.items() if name.endswith("_at") and value is not None}
    assert stamps == {"created_at", "expires_at", "in_progress_at", "finalizing_at", "completed_at"}


@pytest.mark.spec("1-error-object")
async def test_error_texts_are_json_whatever_was_sent(api):
    """Quotes and odd characters of the request cannot break the answer."""
    answer = await api.call("GET", '/v1/files/"%0a%ff%e2%80%a8')

    assert answer.status == 404
    assert json.loads(answer.body)["error"]["param"] == "id"
