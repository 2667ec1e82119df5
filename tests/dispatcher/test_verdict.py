"""Each reply and each break is recognised as a row of the retry policy."""

from __future__ import annotations

import json

import pytest

from batchline.model import Usage
from batchline.serving.retry_after import parse_retry_after
from dispatcher.backends.circuit import Signal
from dispatcher.replies.policy import FULL_COST, POLICIES, Reason, Then
from dispatcher.replies.upstream import NGINX_GROUP, Break, Broken, Reply
from dispatcher.replies.verdict import (
    Answer,
    Failed,
    NoAnswer,
    NoBackend,
    Retry,
    Setting,
    Succeeded,
    judge,
)

CHAT = "/v1/chat/completions"
HERE = Setting(now=0, endpoint=CHAT, request=b'{"model": "x"}')
EMBEDDINGS = Setting(now=0, endpoint="/v1/embeddings", request=b'{"model": "x", "input": "a"}')
GOOD = {
    "choices": [{"index": 0, "message": {"content": "ha"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
}


def reply(status, body=GOOD, *, retry_after=None, backends=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, data, "req", retry_after, backends, 0.1)


def failed_by_nginx(*backends):
    body = {"error": {"message": "x", "type": "y", "param": None, "code": "backend_failed"}}
    text = json.dumps(body, separators=(",", ":")).encode()
    return reply(502, text, backends=backends)


def vllm_error(message, status=500):
    return reply(status, {"error": {"message": message, "type": "x", "param": None, "code": 500}})


def flat_error(message, status):
    body = {"object": "error", "message": message, "type": "x", "param": None, "code": status}
    return reply(status, body)


DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
GONE = {"error": {"message": "The model `x` does not exist.", "code": 404}}
ABORTED = {"choices": [{"index": 0, "finish_reason": "abort", "message": {"content": "ha"}}]}
SAYS_ABORT = {"choices": [{"finish_reason": "stop", "message": {"content": "abort", "x": "abort"}}]}

CASES = {
    "good": (reply(200), Reason.NONE),
    "error null": (reply(200, GOOD | {"error": None}), Reason.NONE),
    "NaN": (reply(200, b'{"choices": [{"text": "a"}], "x": NaN}'), Reason.NONE),
    "the word abort": (reply(200, SAYS_ABORT), Reason.NONE),
    "odd choices": (reply(200, b'{"choices": ["abort", 1]}'), Reason.MALFORMED),
    "aborted": (reply(200, ABORTED), Reason.ABORTED),
    "html": (reply(200, b"<html>"), Reason.MALFORMED),
    "cut JSON": (reply(200, b'{"choices": ['), Reason.MALFORMED),
    "array": (reply(200, b"[]"), Reason.MALFORMED),
    "bad utf-8": (reply(200, b'{"x": "\xff"}'), Reason.MALFORMED),
    "no choices": (reply(200, {"choices": []}), Reason.MALFORMED),
    "error in 200": (reply(200, {"error": {"message": "x"}}), Reason.ERROR_IN_200),
    "dead in 200": (vllm_error(DEAD, 200), Reason.ENGINE_DEAD),
    "redirect": (reply(307), Reason.REDIRECTED),
    "400": (reply(400, {"error": {"message": "x"}}), Reason.CLIENT_ERROR),
    "400 HTML": (reply(400, b"\n<html>no</html>"), Reason.FOREIGN),
    "400 text": (reply(400, b"Client sent an HTTP request to HTTPS."), Reason.FOREIGN),
    "400 empty": (reply(400, b""), Reason.FOREIGN),
    "400 FastAPI": (reply(400, {"detail": "There is no role x."}), Reason.CLIENT_ERROR),
    "400 array": (reply(400, b" [1]"), Reason.CLIENT_ERROR),
    "400 odd JSON": (reply(400, b'{"detail": [{"input": "\\ud800"}]}'), Reason.CLIENT_ERROR),
    "400 text of the engine": (reply(400, b"CUDA out of memory"), Reason.ENGINE_FAULT),
    "402": (reply(402, {"error": {"message": "No credit."}}), Reason.KEY_REFUSED),
    "400 that quotes it": (vllm_error(DEAD, 400), Reason.CLIENT_ERROR),
    "400 of the engine": (vllm_error("CUDA error: an illegal access", 400), Reason.ENGINE_FAULT),
    "400 of the engine, flat": (flat_error("CUDA error: no", 400), Reason.ENGINE_FAULT),
    "424 of the engine, in words": (
        reply(424, {"error": "Request failed: CUDA out of memory", "error_type": "generation"}),
        Reason.ENGINE_FAULT,
    ),
    "401": (reply(401, {"error": "Unauthorized"}), Reason.KEY_REFUSED),
    "403 HTML": (reply(403, b"<html>no</html>"), Reason.KEY_REFUSED),
    "404 model": (reply(404, GONE), Reason.MODEL_MISSING),
    "404 model, flat": (flat_error("The model `x` does not exist.", 404), Reason.MODEL_MISSING),
    "404 route, flat": (flat_error("Not Found", 404), Reason.NO_ENDPOINT),
    "404 other, flat": (flat_error("No response with id 'resp_7'.", 404), Reason.CLIENT_ERROR),
    "404 of a gateway": (reply(404, {"message": "nobody is there"}), Reason.NO_ENDPOINT),
    "413 of a gateway": (reply(413, {"message": "Too long"}), Reason.BODY_REFUSED),
    "404 other": (vllm_error("No response with id 'resp_7'.", 404), Reason.CLIENT_ERROR),
    "404 route": (reply(404, {"detail": "Not Found"}), Reason.NO_ENDPOINT),
    "404 route, as an error object": (vllm_error("Not Found", 404), Reason.NO_ENDPOINT),
    "405": (reply(405, {"detail": "Method Not Allowed"}), Reason.NO_ENDPOINT),
    "407": (reply(407), Reason.KEY_REFUSED),
    "408": (reply(408), Reason.REQUEST_TIMEOUT),
    "409": (reply(409), Reason.CONFLICT),
    "413": (reply(413, b"too big"), Reason.BODY_REFUSED),
    "413 of the server": (vllm_error("At most 9 tokens.", 413), Reason.CLIENT_ERROR),
    "422 FastAPI": (reply(422, {"detail": [{"msg": "field required"}]}), Reason.CLIENT_ERROR),
    "422 text": (reply(422, b"missing field `content` at 9"), Reason.CLIENT_ERROR),
    "422 HTML": (reply(422, b"<html>no</html>"), Reason.FOREIGN),
    "422 empty": (reply(422, b""), Reason.FOREIGN),
    "425": (reply(425), Reason.TOO_EARLY),
    "429": (reply(429), Reason.RATE_LIMITED),
    "500": (reply(500), Reason.SERVER_ERROR),
    "500 dead": (vllm_error(DEAD), Reason.ENGINE_DEAD),
    "500 going": (
        vllm_error("cannot schedule new futures after shutdown"),
        Reason.SHUTTING_DOWN,
    ),
    "501": (reply(501), Reason.CLIENT_ERROR),
    "501 HTML": (reply(501, b"<!DOCTYPE HTML>"), Reason.NO_SERVER),
    "431 empty": (reply(431, b""), Reason.NO_SERVER),
    "501 of the engine": (vllm_error("CUDA error: no", 501), Reason.ENGINE_FAULT),
    "502": (reply(502, b"<html>"), Reason.BAD_GATEWAY),
    "502 nginx": (failed_by_nginx("a:1", "b:1"), Reason.BACKEND_FAILED),
    "502 none": (reply(502, backends=(NGINX_GROUP,)), Reason.NO_BACKEND),
    "503 none": (reply(503, backends=(NGINX_GROUP,)), Reason.NO_BACKEND),
    "503": (reply(503), Reason.OVERLOADED),
    "503 dead": (vllm_error(DEAD, 503), Reason.ENGINE_DEAD),
    "504": (reply(504), Reason.GATEWAY_TIMEOUT),
    "507": (reply(507), Reason.SERVER_ERROR),
    "511": (reply(511), Reason.KEY_REFUSED),
    "529": (reply(529), Reason.OVERLOADED),
    "connect": (Broken(Break.CONNECT, "x", 0), Reason.NO_BACKEND),
    "too large": (Broken(Break.TOO_LARGE, "x", 0), Reason.TOO_LARGE),
    "reset": (Broken(Break.RESET, "x", 3, "a:1"), Reason.RESET),
    "reset at once": (Broken(Break.RESET, "x", 0.01, "a:1"), Reason.STALE),
    "truncated": (Broken(Break.TRUNCATED, "x", 0), Reason.TRUNCATED),
    "timeout": (Broken(Break.TIMEOUT, "x", 60), Reason.TIMEOUT),
}


def reason_of(verdict):
    return Reason.NONE if isinstance(verdict, Succeeded) else verdict.reason


KINDS = {Then.RETRY: Retry, Then.FAIL: Failed, Then.PAUSE: NoBackend}


@pytest.mark.parametrize(("what", "reason"), CASES.values(), ids=CASES)
def test_each_reply_is_a_row_of_the_table(what, reason):
    """And becomes what the row says."""
    verdict = judge(what, HERE)

    assert reason_of(verdict) is reason
    if reason is not Reason.NONE:
        assert isinstance(verdict, KINDS[POLICIES[reason].then])


def test_every_status_of_http_is_judged():
    """No status is missing."""
    assert all(judge(reply(status), HERE) for status in range(200, 600))


@pytest.mark.parametrize("how", Break)
def test_every_break_is_judged(how):
    """No kind of break is missing."""
    assert judge(Broken(how, "x", 1), HERE)


def test_a_stale_connection_is_free_only_once():
    """A server that resets at once each time is a broken one."""
    again = Setting(now=0, may_be_stale=False)

    assert judge(Broken(Break.RESET, "x", 0.01, "a:1"), again).reason is Reason.RESET


def test_a_connection_that_nginx_closed_is_no_fault_of_the_line():
    """A server that breaks off is a 502 of nginx, which closes connections only when reloaded."""
    assert judge(Broken(Break.RESET, "x", 3, None), HERE).reason is Reason.PROXY_LOST
    assert judge(Broken(Break.TRUNCATED, "x", 3, None), HERE).reason is Reason.TRUNCATED


def test_a_404_that_names_the_lines_model_is_news_about_the_server():
    """Also by its code alone; one that names another model is the line's affair."""
    other = {"error": {"message": "The model `y` does not exist.", "code": 404}}
    coded = {"error": {"message": "No such model.", "code": "model_not_found"}}

    assert judge(reply(404, other), HERE).reason is Reason.CLIENT_ERROR
    assert judge(reply(400, coded), HERE).reason is Reason.MODEL_MISSING
    assert judge(reply(400, GONE), HERE).reason is Reason.CLIENT_ERROR


def test_a_response_of_a_server_that_stops_may_be_cut_short():
    """What its engine gave up looks whole there; of other endpoints it says so."""
    whole = reply(200, {"status": "completed", "output": []})
    leaving = {"now": 0, "is_leaving": True}

    assert judge(whole, Setting(**leaving, endpoint="/v1/responses")).reason is Reason.STOPPING
    assert isinstance(judge(reply(200), Setting(**leaving, endpoint=CHAT)), Succeeded)


def test_evidence_about_the_server_costs_a_line_nothing():
    """Key, route, model list, a proxy's limit, no room: such lines only wait."""
    for status in (302, 401, 402, 403, 404, 405, 407, 413, 421, 429, 501, 503, 511, 529):
        verdict = judge(reply(status, b""), HERE)
        assert isinstance(verdict, Retry)
        assert verdict.cost == 0


def test_a_server_that_is_full_opens_no_circuit():
    """It only gets less."""
    for status in (429, 503, 529):
        assert judge(reply(status), HERE).policy.signal is Signal.FULL


def test_what_it_fails_with_at_last_is_the_servers_answer_if_there_is_one():
    """Form 1 of the error file where a server answered, else form 2."""
    refused = judge(reply(500, {"error": {"message": "sad"}}), HERE).result
    assert (refused.status, b"sad" in refused.body) == (500, True)
    assert judge(reply(200, b"<html>"), HERE).result.status == 502
    timed_out = judge(Broken(Break.TIMEOUT, "x", 60.04), HERE).result
    assert timed_out == NoAnswer("request_timeout", "The model server did not answer within 60 s.")


@pytest.mark.parametrize(("what", "reason"), CASES.values(), ids=CASES)
def test_a_row_with_a_code_has_no_answer_and_others_have_one(what, reason):
    """What the table says under `fails at last with` is what is written."""
    verdict = judge(what, HERE)
    if isinstance(verdict, Retry | Failed) and reason not in (Reason.STALE, Reason.ENGINE_DEAD):
        code = POLICIES[reason].code
        assert isinstance(verdict.result, NoAnswer if code else Answer)
        assert code is None or verdict.result.code == code


def test_what_a_try_costs():
    """A quarter of one where the engine gave it up, nothing where nobody was there."""
    assert judge(reply(500, backends=("a:1",)), HERE).cost == FULL_COST
    assert judge(reply(500, backends=("a:1", "b:1")), HERE).cost == 2 * FULL_COST
    assert judge(reply(200, ABORTED, backends=("a:1",)), HERE).cost == 1
    assert judge(vllm_error("cannot schedule new futures after shutdown"), HERE).cost == 0


def test_retry_after_is_heeded_where_the_row_says_so():
    """A 429 asks for patience; an answer that is nonsense has nothing to ask for."""
    assert judge(reply(429, retry_after="7"), HERE).after_s == 7
    assert judge(reply(200, b"<html>", retry_after="7"), HERE).after_s is None


@pytest.mark.spec("6-failure-body")
def test_a_foreign_error_body_becomes_an_openai_error():
    """HTML and other shapes never reach the error file."""
    body = json.loads(judge(reply(400, b"<html>"), HERE).result.body)

    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_usage_is_read_in_both_spellings():
    """Chat completions and responses name their tokens differently."""
    responses = GOOD | {
        "usage": {
            "input_tokens": 4,
            "output_tokens": 6,
            "total_tokens": 10,
            "input_tokens_details": {"cached_tokens": 1},
            "output_tokens_details": {"reasoning_tokens": 2},
        }
    }
    assert judge(reply(200), HERE).usage == Usage(2, 0, 3, 0, 5)
    assert judge(reply(200, responses), HERE).usage == Usage(4, 1, 6, 2, 10)
    assert judge(reply(200, GOOD | {"usage": {"prompt_tokens": "x"}}), HERE).usage == Usage()


def test_what_came_from_a_cache_is_counted_in():
    """Anthropic counts it beside the other input; OpenAI, and we, count it among them."""
    usage = {"input_tokens": 4, "output_tokens": 6}
    cached = usage | {"cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}

    assert judge(reply(200, GOOD | {"usage": usage}), HERE).usage == Usage(4, 0, 6, 0, 10)
    assert judge(reply(200, GOOD | {"usage": cached}), HERE).usage == Usage(9, 3, 6, 0, 15)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-4", 0),
        ("99999", 600),
        ("nan", None),
        ("soon", None),
        (None, None),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    """RFC 9110 §10.2.3, bounded."""
    assert parse_retry_after(value, now=10) == seconds
