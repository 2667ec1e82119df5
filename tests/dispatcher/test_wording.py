"""Why a backend gets nothing is said in words that tell what to do."""

from __future__ import annotations

import json

import pytest

from dispatcher.replies.error_texts import ErrorText, is_about_route, names_model, read_error
from dispatcher.replies.policy import Reason
from dispatcher.replies.upstream import NGINX_GROUP, Break, Broken, Reply
from dispatcher.replies.wording import why_of


def reply(status, body=b"", *, location=None, backends=()):
    return Reply(status, body, "r", None, backends, 0.1, location=location)


PAGE = b"<html><head><title>400 Bad</title></head>\r\n<body>sent to <b>HTTPS</b>\n</body></html>"
NO_SERVER = "which is no model server's answer: check its address, and the proxies before it"
SAD = json.dumps({"error": {"message": "sad at 17", "type": "InternalServerError"}}).encode()
WORDS = {
    "key": (
        reply(401),
        Reason.KEY_REFUSED,
        "refuses our key (401): check BATCHLINE_UPSTREAM_API_KEY",
    ),
    "proxy": (reply(407), Reason.KEY_REFUSED, "a proxy before it asks for a login (407)"),
    "account": (
        reply(402),
        Reason.KEY_REFUSED,
        "wants to be paid first (402): check the account of BATCHLINE_UPSTREAM_API_KEY",
    ),
    "page": (
        reply(400, PAGE),
        Reason.FOREIGN,
        f"answers /v1/x with 400 and “400 Bad sent to HTTPS”, {NO_SERVER}",
    ),
    "empty": (
        reply(501),
        Reason.NO_SERVER,
        f"answers /v1/x with 501 and nothing, {NO_SERVER}",
    ),
    "redirect": (
        reply(308, location="https://x/y"),
        Reason.REDIRECTED,
        "redirects /v1/x to https://x/y (308): name the address that answers itself",
    ),
    "endpoint": (
        reply(404),
        Reason.NO_ENDPOINT,
        "has no /v1/x (404): start a server that offers it",
    ),
    "size": (
        reply(413),
        Reason.BODY_REFUSED,
        "refuses requests of 14 B as too large (413): raise the limit of the proxy before it",
    ),
    "model": (reply(404), Reason.MODEL_MISSING, "does not know the model m (404)"),
    "error": (reply(500, SAD), Reason.SERVER_ERROR, "500 InternalServerError: sad at #"),
    "no answer": (reply(200, b"{}"), Reason.MALFORMED, "200 without an answer: malformed_answer"),
    "nobody": (reply(502, backends=(NGINX_GROUP,)), Reason.NO_BACKEND, "takes no connections"),
    "refused": (Broken(Break.CONNECT, "x", 0), Reason.NO_BACKEND, "takes no connections (x)"),
    "broke off": (Broken(Break.RESET, "x", 0), Reason.RESET, "broke off (x)"),
}


@pytest.mark.parametrize(("what", "reason", "words"), WORDS.values(), ids=WORDS)
def test_what_is_said(what, reason, words):
    """On the dashboard, in `/ready` and in the log."""
    assert why_of(what, reason, endpoint="/v1/x", request=b'{"model": "m"}') == words


def test_what_a_server_says_is_quoted_in_bounds():
    """It may send a novel."""
    for what in (reply(500, b"x" * 10_000), reply(302, location="y" * 10_000)):
        for reason in (Reason.REDIRECTED, Reason.SERVER_ERROR, Reason.FOREIGN):
            assert len(why_of(what, reason, endpoint="/v1/x", request=b"{}")) < 250


ROUTES = {
    "framework": (b'{"error": {"message": "Not Found"}}', True),
    "method": (b'{"error": {"message": "Method Not Allowed."}}', True),
    "OpenAI": (b'{"error": {"message": "Invalid URL (POST /v1/x)"}}', True),
    "no words": (b'{"error": {"message": null}}', True),
    "of the request": (b'{"error": {"message": "No file with id 7."}}', False),
}


@pytest.mark.parametrize(("body", "is_route"), ROUTES.values(), ids=ROUTES)
def test_an_error_object_may_speak_of_the_route_alone(body, is_route):
    """Frameworks wrap their own 404 in the server's form."""
    assert is_about_route(read_error(body), "/v1/x") is is_route


BARE = {
    "nothing": (b"", ""),
    "a page": (b"<html>", "<html>"),
    "FastAPI's detail": (b'{"detail": "Not Found"}', "Not Found"),
    "an error in words": (b'{"error": "no"}', "no"),
    "a gateway's message": (b'{"message": "no Route matched"}', "no Route matched"),
    "cut": (b"[", "["),
}


@pytest.mark.parametrize(("body", "message"), BARE.values(), ids=BARE)
def test_without_an_error_object_nothing_is_said_of_the_request(body, message):
    """A proxy's page, a framework's or a gateway's bare word: what it says is read, and no more."""
    assert read_error(body) == ErrorText(message)


FIELDS = {"message": "No such role.", "type": "BadRequest", "param": None, "code": 400}
OBJECTS = {
    "nested": {"error": FIELDS},
    "flat": {"object": "error"} | FIELDS,
    "flat, error null": {"error": None} | FIELDS,
}


@pytest.mark.parametrize("body", OBJECTS.values(), ids=OBJECTS)
def test_an_error_object_is_nested_or_flat(body):
    """SGLang, LMDeploy and older vLLM send it flat."""
    found = read_error(json.dumps(body).encode())

    assert found == ErrorText("No such role.", "", "BadRequest", is_object=True)


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("the model `m` does not exist.", True),
        ("the model m was not found", True),
        ("no such model: m", True),
        ("the model `m-2` does not exist", False),
        ("the model `org/m` does not exist", False),
        ("something else", False),
    ],
)
def test_a_model_is_named_as_a_whole_word(message, names):
    """`m` stands in `some` as well."""
    assert names_model(404, ErrorText(message), b'{"model": "m"}') is names
