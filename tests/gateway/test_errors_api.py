"""Every error is OpenAI's error object, whoever raised it; every answer has a request id."""

from __future__ import annotations

import inspect
import logging

import openai
import pytest

from batchline import errors
from gateway.errors import ANSWERS, answer_for

DOMAIN_ERRORS = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.BatchlineError)
]


@pytest.mark.parametrize("cls", DOMAIN_ERRORS, ids=lambda cls: cls.__name__)
def test_the_table_of_errors_is_total(cls):
    """Each domain error has a row of its own; only the base is an unexpected fault."""
    answer = answer_for(cls("m"))

    assert answer is ANSWERS[cls]
    assert (answer.status == 500) == (cls is errors.BatchlineError)


def test_an_error_of_tomorrow_is_answered_like_its_parent():
    """The table is read along the classes, the nearest first."""

    class Fuller(errors.TooLarge):
        pass

    assert answer_for(Fuller("m")) is ANSWERS[errors.TooLarge]


@pytest.mark.spec("1-error-unknown-route", "1-error-wrong-method")
@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message", "allow"),
    [
        ("GET", "/v1/nope", 404, None, "Invalid URL (GET /v1/nope)", None),
        ("POST", "/v1/files/x/y/z", 404, None, "Invalid URL (POST /v1/files/x/y/z)", None),
        ("GET", "/v1/files/", 404, None, "Invalid URL", None),
        ("PUT", "/v1/files", 405, "method_not_supported", "Not allowed to PUT", "GET,HEAD,POST"),
        ("DELETE", "/v1/batches", 405, "method_not_supported", "Allowed: GET", "GET,HEAD,POST"),
        ("OPTIONS", "/v1/files", 405, "method_not_supported", "OPTIONS", "GET,HEAD,POST"),
        ("GET", "/v1/batches/b/cancel", 405, "method_not_supported", "Not allowed", "POST"),
        ("PATCH", "/v1/batches/b", 405, "method_not_supported", "Not allowed", "DELETE,GET,HEAD"),
    ],
)
async def test_unknown_routes_and_methods(gateway, method, path, status, code, message, allow):
    """Nothing of the framework's own answers comes through."""
    answer = await gateway.call(method, path)

    assert answer.status == status
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == (
        "invalid_request_error",
        code,
    )
    assert message in answer.json["error"]["message"]
    assert answer.headers.get("Allow") == allow


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/models", "/health", "/ready", "/metrics", "/v1/nope"]
)
async def test_head_is_answered_without_a_body(gateway, path):
    """HEAD never fails inside."""
    answer = await gateway.call("HEAD", path)

    assert answer.status < 500 or path == "/ready"
    assert answer.body == b""


@pytest.mark.spec("1-request-id")
async def test_every_answer_has_its_own_request_id(gateway):
    """Good, bad and unknown: each gets a new id, and a client's own is not echoed."""
    answers = [
        await gateway.call("GET", path, headers={"x-request-id": "mine"})
        for path in ("/health", "/v1/files", "/v1/nope", "/v1/files/file-x")
    ]

    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 4
    assert all(i.startswith("req_") for i in ids)
    assert {answer.headers["Server"] for answer in answers} == {"batchline"}


@pytest.mark.spec("1-request-id-in-sdk")
async def test_the_stock_client_shows_the_request_id(gateway):
    """It is found on objects and on errors."""
    file = await gateway.upload()
    with pytest.raises(openai.NotFoundError) as caught:
        await gateway.client.files.retrieve("file-x")

    assert file._request_id.startswith("req_")
    assert caught.value.request_id.startswith("req_")
    assert caught.value.type == "invalid_request_error"


@pytest.mark.spec("1-error-internal")
async def test_a_fault_of_our_own_is_a_500_logged_once(starts, caplog):
    """The client gets JSON without internals; the log has the traceback and the id."""

    class Broken:
        async def fleet_report(self):
            raise RuntimeError("secret detail")

    gateway = await starts(with_store=Broken())

    with caplog.at_level(logging.INFO):
        answer = await gateway.call("GET", "/v1/models")

    assert answer.status == 500
    assert answer.json["error"]["type"] == "server_error"
    assert "secret" not in answer.body.decode()
    logged = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(logged) == 1
    assert logged[0].exc_info is not None
    assert answer.headers["x-request-id"] in logged[0].getMessage()


@pytest.mark.spec("1-retry-after")
async def test_a_refusing_store_is_a_503_to_come_back_to(gateway):
    """The stock client would repeat it by itself."""
    batch = await gateway.create_batch()
    await gateway.store._database._writer.execute("PRAGMA query_only = 1")

    answer = await gateway.call("POST", f"/v1/batches/{batch.id}/cancel")

    assert answer.status == 503
    assert answer.json["error"]["type"] == "server_error"
    assert answer.headers["Retry-After"] == "2"


class TestApiKey:
    """With a key set, /v1 asks for it."""

    @pytest.fixture
    async def locked(self, starts):
        return await starts(api_key="sésame")

    @pytest.mark.spec("1-auth-wrong-key", "1-auth-no-key")
    @pytest.mark.parametrize(
        "header",
        [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic sésame", "sésame", "Bearer sésam"],
    )
    @pytest.mark.parametrize("path", ["/v1/files", "/v1/nope"])
    async def test_without_the_right_key_it_is_401(self, locked, header, path):
        """The answer is OpenAI's and does not repeat what was sent."""
        headers = {} if header is None else {"Authorization": header}

        answer = await locked.call("GET", path, headers=headers)

        assert answer.status == 401
        error = answer.json["error"]
        assert error["message"].startswith("Incorrect API key provided")
        assert (error["type"], error["param"], error["code"]) == (
            "invalid_request_error",
            None,
            "invalid_api_key",
        )
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    async def test_the_right_key_opens(self, starts):
        """The stock client's key is checked."""
        gateway = await starts(api_key="sk-right")

        opened = gateway.client.with_options(api_key="sk-right")

        assert (await opened.files.list()).data == []
        with pytest.raises(openai.AuthenticationError):
            await gateway.client.files.list()

    async def test_a_probe_of_life_needs_no_key(self, locked):
        """Supervisors have none."""
        assert (await locked.call("GET", "/health")).status == 200


@pytest.mark.spec("1-auth-off")
async def test_without_a_setting_any_key_or_none_will_do(gateway):
    """Keys are off by default."""
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "odd"}):
        assert (await gateway.call("GET", "/v1/files", headers=headers)).status == 200
