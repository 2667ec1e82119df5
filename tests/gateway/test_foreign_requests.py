"""What other hosts' names and other sites' pages may do at a running gateway, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest
from waiting import until

from batchline.serving.origins import EVERY_HOST_WARNING
from batchline.settings import Settings
from gateway.app import serve

ERROR_KEYS = {"message", "type", "param", "code"}
PROTECTED = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
EVIL = "https://evil.test"
APP = "https://app.example.org"


async def raw(gateway, sent):
    """Send bytes; return status, headers in lower case, and body."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    writer.write(sent)
    async with asyncio.timeout(60):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def get(path="/v1/files", host="localhost", version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


def check_protected(headers):
    assert {name: headers.get(name) for name in PROTECTED} == PROTECTED
    if "etag" not in headers:
        assert headers["cache-control"] == "no-store"


PATHS = [
    "/",
    "/docs",
    "/v1/files",
    "/v1/models",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/nope",
]


@pytest.mark.parametrize("path", [*PATHS, "/v1/chat/completions"])
async def test_no_path_answers_to_a_host_that_is_not_ours(gateway, path):
    """A page whose name was bound anew to this machine reads nothing, health included."""
    answer = await gateway.call("GET", path, headers={"Host": "evil.test:5000"})

    assert answer.status == 421
    error = answer.json["error"]
    assert error.keys() == ERROR_KEYS
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_host")
    assert "evil.test:5000" in error["message"]
    assert "BATCHLINE_ALLOWED_HOSTS" in error["message"]
    check_protected({name.lower(): value for name, value in answer.headers.items()})


async def test_the_host_is_looked_at_before_the_key(starts):
    """Nobody learns from outside whether a key is set."""
    gateway = await starts(api_key="secret")

    answer = await gateway.call("GET", "/v1/files", headers={"Host": "evil.test"})

    assert answer.status == 421


@pytest.mark.parametrize(
    "host", ["localhost:5000", "127.8.9.1", "[::1]:5000", "10.0.0.7:80", "gateway"]
)
async def test_hosts_of_ours_are_answered(starts, host):
    """Loopback, addresses, and what the operator named."""
    gateway = await starts(allowed_hosts=("gateway",))

    assert (await gateway.call("GET", "/v1/files", headers={"Host": host})).status == 200


async def test_a_whole_url_as_target_counts_as_host(gateway):
    """It wins over the header (RFC 9112 §3.2.2), so both must be ours."""
    status, *_ = await raw(gateway, get("http://evil.test/v1/files"))

    assert status == 421
    assert (await raw(gateway, get("http://localhost/v1/files")))[0] == 200
    assert (await raw(gateway, get("http://localhost/v1/files", host="evil.test")))[0] == 421


async def test_http_1_0_without_a_host_is_answered(gateway):
    """As old health checks send it."""
    assert (await raw(gateway, b"GET /health HTTP/1.0\r\n\r\n"))[0] == 200


VERSIONS = {
    "0.9 without its name": b"GET /v1/files\r\n\r\n",
    "0.9 that changes": b"DELETE /v1/files/file-1\r\n\r\n",
    "0.9 by name": b"GET /health HTTP/0.9\r\nHost: localhost\r\n\r\n",
    "1.2": b"GET /health HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "2.0": b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "9.9": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("sent", VERSIONS.values(), ids=VERSIONS)
async def test_other_versions_of_http_are_refused(gateway, sent):
    """In OpenAI's form, and the connection is closed."""
    status, headers, body = await raw(gateway, sent)

    assert status == 400
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    check_protected(headers)


UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}\r\n--b--\r\n'
)
BODIES = {
    "a form with a file": ("/v1/files", "multipart/form-data; boundary=b", UPLOAD),
    "text that is JSON": ("/v1/batches", "text/plain", b'{"input_file_id": "%s"}'),
    "a form of fields": ("/v1/batches", "application/x-www-form-urlencoded", b"a=b"),
    "JSON": ("/v1/batches", "application/json", b"{}"),
    "no type": ("/v1/batches", None, b"{}"),
    "a cancel": ("/v1/batches/batch_1/cancel", None, b""),
    "a chat": ("/v1/chat/completions", "text/plain", b'{"model": "m"}'),
    "nowhere": ("/v1/nope", None, b""),
}
PAGES = {
    "another site": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "another site, old browser": {"Origin": EVIL},
    "another site, no origin": {"Sec-Fetch-Site": "cross-site"},
    "another port": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    "a sandbox": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize(("path", "kind", "body"), BODIES.values(), ids=BODIES)
async def test_a_foreign_page_changes_nothing(gateway, path, kind, body, page):
    """Whatever the type of its body: a browser sends text, forms and files without asking first."""
    headers = page if kind is None else page | {"Content-Type": kind}

    answer = await gateway.call(
        "POST", path, data=body, headers=headers, skip_auto_headers=["Content-Type"]
    )

    assert answer.status == 403
    assert answer.json["error"]["code"] == "foreign_origin"
    assert "BATCHLINE_ALLOWED_ORIGINS" in answer.json["error"]["message"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert gateway.stored() == []


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
async def test_a_program_needs_no_json_type(gateway, kind):
    """`curl -d '{…}'` names a form and means JSON."""
    file = await gateway.upload()
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }

    answer = await gateway.call(
        "POST",
        "/v1/batches",
        data=json.dumps(body).encode(),
        headers={"Content-Type": kind} if kind else {},
        skip_auto_headers=["Content-Type"],
    )

    assert answer.status == 200


async def test_our_own_page_may_change_things(gateway):
    """By whatever name of ours the browser reached it."""
    origin = f"http://{gateway.address[0]}:{gateway.address[1]}"
    page = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}

    answer = await gateway.call("POST", "/v1/batches", data=b"{}", headers=page)

    assert answer.status == 400
    assert "Missing required" in answer.json["error"]["message"]


ASKING = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}


async def test_no_page_is_let_in_unless_it_is_named(gateway):
    """No CORS header on anything, and a preflight meets a route that knows no OPTIONS."""
    asked = await gateway.call("OPTIONS", "/v1/files", headers={"Origin": EVIL} | ASKING)
    read = await gateway.call("GET", "/v1/files", headers={"Origin": EVIL})

    assert (asked.status, read.status) == (405, 200)
    for answer in (asked, read):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert "Vary" not in answer.headers


async def test_a_named_page_is_told_that_it_may(starts):
    """Before the key is asked for, which no preflight carries; the key is asked for after."""
    gateway = await starts(allowed_origins=(APP,), api_key="secret")

    asked = await gateway.call("OPTIONS", "/v1/files", headers={"Origin": APP} | ASKING)
    refused = await gateway.call("POST", "/v1/batches", data=b"{}", headers={"Origin": APP})
    key = {"Origin": APP, "Authorization": "Bearer secret", "Sec-Fetch-Site": "cross-site"}
    taken = await gateway.call("POST", "/v1/batches", data=b"{}", headers=key)
    other = await gateway.call("OPTIONS", "/v1/files", headers={"Origin": EVIL} | ASKING)

    assert [a.status for a in (asked, refused, taken, other)] == [204, 401, 400, 401]
    for answer in (asked, refused, taken):
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert answer.headers["Vary"] == "Origin"
    assert {"GET", "POST", "DELETE"} <= set(
        asked.headers["Access-Control-Allow-Methods"].split(", ")
    )
    allowed = asked.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert "authorization" in allowed
    assert "*" in allowed
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_every_answer_is_protected(gateway):
    """Good ones, errors of every layer, streams and downloads."""
    file = await gateway.upload()
    asked = [
        *(("GET", path) for path in PATHS),
        ("GET", f"/v1/files/{file.id}"),
        ("HEAD", f"/v1/files/{file.id}/content"),
        ("GET", f"/v1/files/{file.id}/content"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/chat/completions"),
        ("PUT", "/v1/files"),
        ("GET", "/v1/batches/batch_1/results"),
    ]
    for method, path in asked:
        answer = await gateway.call(method, path)
        check_protected({name.lower(): value for name, value in answer.headers.items()})
    for sent in (
        b"hello\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        get(version="1.0"),
    ):
        check_protected((await raw(gateway, sent + b"\r\n"))[1])


async def test_a_range_of_a_download_is_still_a_range(gateway):
    """And nothing says that it may be kept."""
    file = await gateway.upload()

    part = await gateway.call("GET", f"/v1/files/{file.id}/content", headers={"Range": "bytes=0-3"})

    assert (part.status, part.body) == (206, b'{"cu')
    assert part.headers["Content-Range"] == f"bytes 0-3/{file.bytes}"
    assert part.headers["Cache-Control"] == "no-store"
    assert "ETag" not in part.headers


async def test_the_description_of_the_api_keeps_its_etag(gateway):
    """It may be kept, and is asked about each time."""
    whole = await gateway.call("GET", "/openapi.json")
    again = await gateway.call(
        "GET", "/openapi.json", headers={"If-None-Match": whole.headers["ETag"]}
    )

    assert (whole.status, again.status) == (200, 304)
    assert again.headers["Cache-Control"] == "no-cache"


async def test_a_refusal_is_logged_without_what_a_client_can_forge(gateway, caplog):
    """One line for the operator who wonders why a proxy gets 421."""
    await raw(gateway, get(host="evil.test"))
    await gateway.call("POST", "/v1/batches", headers={"Origin": EVIL})

    told = [r.getMessage() for r in caplog.records if r.name == "batchline.requests"]
    assert any("evil.test" in line for line in told)
    assert any(EVIL in line for line in told)
    assert all(re.fullmatch("[ -~]+", line) for line in told)


@pytest.mark.parametrize(("hosts", "is_warned"), [("*", True), ("batch.example.org", False)])
async def test_a_star_is_warned_of_at_the_start(tmp_path, caplog, hosts, is_warned):
    """Who sets it to make something work learns what it costs."""
    stop = asyncio.Event()
    caplog.set_level(logging.INFO)
    settings = Settings(_env_file=None, data_dir=tmp_path, port=0, allowed_hosts=hosts)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop))
        await until(lambda: "listens on" in caplog.text)
        stop.set()

    assert (EVERY_HOST_WARNING in caplog.text) is is_warned
