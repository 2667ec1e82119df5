"""Paths that try to be something else, and methods that do not exist."""

from __future__ import annotations

import pytest
from wire import Case, check_refusal, json_request, request

UNKNOWN = [
    "/v1",
    "/v1/",
    "/v2/files",
    "/V1/files",
    "/v1/Files",
    "/v1//files",
    "//v1/files",
    "/v1/files/",
    "/v1/files//",
    "/v1/files;a=b",
    "/v1/files%3Flimit=1",
    "/v1%2Ffiles",
    "/v1/files/a/b",
    "/v1/files/a/content/",
    "/v1/files/a/content/b",
    "/v1/files/%2e%2e/%2e%2e/health",
    "/v1/files/..%2f..%2fetc%2fpasswd/x",
    "/v1/../secret",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%5c..%5cwindows",
    "/static/../../../../etc/passwd",
    "/static//etc/passwd",
    "/v1/batches/a/cancel/",
    "/v1/batches/a/b",
    "/v1/batches//cancel",
    "/v1/chat",
    "/v1/chat/completions/",
    "/v1/chat%2fcompletions",
    "/v1/chat/completions/x",
    "/.env",
    "/.git/config",
    "/%",
    "/%zz",
]
FOR_BROWSERS = [
    "/static/..%2f..%2fapp.py",
    "/static/%2e%2e%2fapp.py",
    "/static/%00",
    "/static/%ff",
    "/static/style.css%00",
    "/static/a%0d%0aX-Injected:%201",
]
NO_SUCH = {
    "dots": "..",
    "encoded dots": "%2e%2e",
    "an encoded slash": "a%2Fb",
    "up and away": "..%2f..%2fsecret",
    "NUL": "%00",
    "NUL inside": "a%00b",
    "line ends": "a%0d%0aX-Injected:%201",
    "not UTF-8": "%ff%fe",
    "a lone surrogate": "%ed%a0%80",
    "an emoji": "%f0%9f%98%80",
    "half an escape": "%4",
    "no escape": "%zz",
    "a quote": "'%20OR%201=1--",
    "a wildcard": "%25",
    "a template": "{{7*7}}",
    "endless": "a" * 5000,
    "a space": "%20",
    "a direction mark": "%e2%80%ae",
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_path_that_is_none_of_ours_is_a_404(server, path):
    """Nothing is normalised into something that exists; the message names method and path."""
    server.refuses(Case(request("GET", path), 404, r"Invalid URL \(GET /"))


@pytest.mark.parametrize("path", FOR_BROWSERS)
def test_the_dashboards_files_lead_nowhere_else(server, path):
    """A browser is told so; nothing outside their folder is sent, no header injected."""
    answer = server.ask(request("GET", path))

    assert answer.status == 404
    assert b"import" not in answer.body
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("id_", NO_SUCH.values(), ids=NO_SUCH)
@pytest.mark.parametrize(
    ("method", "before", "after", "says", "param"),
    [
        ("GET", "/v1/files/", "", "No such File object: ", "id"),
        ("DELETE", "/v1/files/", "", "No such File object: ", "id"),
        ("GET", "/v1/files/", "/content", "No such File object: ", "id"),
        ("GET", "/v1/batches/", "", "No batch found with id ", None),
        ("POST", "/v1/batches/", "/cancel", "No batch found with id ", None),
        ("POST", "/v1/batches/", "/pause", "No batch found with id ", None),
        ("POST", "/v1/batches/", "/resume", "No batch found with id ", None),
        ("GET", "/v1/batches/", "/results", "No batch found with id ", None),
        ("GET", "/v1/batches/", "/errors", "No batch found with id ", None),
        ("POST", "/v1/batches/", "/retry", "No batch found with id ", None),
        ("DELETE", "/v1/batches/", "", "No batch found with id ", None),
    ],
    ids=[
        "file",
        "delete",
        "content",
        "batch",
        "cancel",
        "pause",
        "resume",
        "results",
        "errors",
        "retry",
        "delete batch",
    ],
)
def test_an_odd_id_is_an_unknown_one(server, method, before, after, says, param, id_):
    """Whatever stands in the place of an id: 404, and no header is injected."""
    answer = server.ask(request(method, before + id_ + after))

    if answer.error["message"].startswith("Invalid URL"):
        param = None
        says = "Invalid URL"
    check_refusal(answer, Case(b"", 404, says, param))
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("id_", NO_SUCH.values(), ids=NO_SUCH)
def test_an_odd_model_is_an_unknown_one(server, id_):
    """Model names may hold slashes, so nearly anything may stand there."""
    answer = server.ask(request("GET", f"/v1/models/{id_}"))

    if answer.error["message"].startswith("Invalid URL"):
        check_refusal(answer, Case(b"", 404, "Invalid URL"))
    else:
        says = "The model '.*does not exist"
        check_refusal(answer, Case(b"", 404, "(?s)" + says, "model", "model_not_found"))


METHODS = {
    "made up": ("FOO", 400, "(?i)method", None),
    "lower case": ("get", 400, "(?i)method", None),
    "with a control character": ("GE\x01T", 400, ".", None),
    "not ASCII": ("GÉT", 400, ".", None),
    "endless": ("A" * 10_000, 400, ".", None),
    "empty": ("", 400, ".", None),
    "PUT": ("PUT", 405, "Allowed: GET, HEAD, POST", "method_not_supported"),
    "PATCH": ("PATCH", 405, "Allowed: GET", "method_not_supported"),
    "TRACE": ("TRACE", 405, "Allowed: GET", "method_not_supported"),
    "OPTIONS": ("OPTIONS", 405, "Allowed: GET", "method_not_supported"),
    "WebDAV": ("PROPFIND", 405, "Allowed: GET", "method_not_supported"),
    "DELETE of the list": ("DELETE", 405, "Allowed: GET", "method_not_supported"),
}


@pytest.mark.parametrize(("method", "status", "says", "code"), METHODS.values(), ids=METHODS)
def test_a_method_that_does_not_exist_is_refused(server, method, status, says, code):
    """Known ones by their name and what is allowed, unknown ones as no HTTP."""
    server.refuses(Case(request(method), status, says, code=code))


OVERRIDES = {
    "header": ("X-HTTP-Method-Override: DELETE", ""),
    "another header": ("X-HTTP-Method: DELETE", ""),
    "query": ("X-Plain: 1", "?_method=DELETE"),
}


@pytest.mark.parametrize(("header", "query"), OVERRIDES.values(), ids=OVERRIDES)
def test_a_method_cannot_be_smuggled_in(server, stored, header, query):
    """A POST stays a POST: the file is still there afterwards."""
    case = Case(
        request("POST", f"/v1/files/{stored}{query}", header),
        405,
        "Not allowed to POST",
        code="method_not_supported",
    )

    server.refuses(case)

    assert server.ask(request("GET", f"/v1/files/{stored}")).status == 200


TARGETS = {
    "another host": ("GET", "http://evil.example/v1/nope", 421, "evil.example"),
    "another host, another scheme": ("GET", "ftp://evil.example/v1/nope", 421, "evil.example"),
    "another scheme": ("GET", "ftp://localhost/v1/nope", 404, "Invalid URL"),
    "no path": ("GET", "http://localhost", 404, "Invalid URL"),
    "no URL": ("GET", "http://", 400, "."),
    "a bad port": ("GET", "http://gateway:99999/v1/files", 400, "."),
    "a bracket": ("GET", "http://[::1/v1/files", 400, "."),
    "a tunnel": ("CONNECT", "evil.example:443", 421, "."),
    "star": ("GET", "*", 400, "."),
    "no slash": ("GET", "v1/files", 400, "."),
    "a fragment": ("GET", "/v1/nope#x", 404, "Invalid URL"),
    "nothing": ("GET", "", 400, "."),
    "a space": ("GET", "/v1/fi les", 400, "."),
    "a raw NUL": ("GET", "/v1/\x00", 400, "."),
    "raw UTF-8": ("GET", "/v1/files/é", 400, "Invalid char in url path"),
    "a raw byte": ("GET", "/v1/\udcff", 400, "Invalid char in url path"),
    "endless": ("GET", "/v1/files?after=" + "a" * 70_000, 400, "."),
}


@pytest.mark.parametrize(("method", "target", "status", "says"), TARGETS.values(), ids=TARGETS)
def test_an_odd_target_is_refused(server, method, target, status, says):
    """Absolute ones name no other host to go to; broken ones are told as such."""
    code = "unknown_host" if status == 421 else None
    server.refuses(Case(request(method, target), status, says, code=code))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize("query", ["?url=http://evil.example/", "?..%2f..%2fhealth", "?%00"])
def test_a_query_leads_nowhere_else(server, path, query):
    """An interactive request goes to its own path at the upstream, here to nobody."""
    answer = server.ask(json_request({}, target=path + query))

    assert (answer.status, answer.error["code"]) == (503, "no_backend")
