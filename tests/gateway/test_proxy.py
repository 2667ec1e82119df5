"""Interactive requests through the gateway: what passes, what is changed, what ends them."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from functools import partial

import aiohttp
import httpx
import openai
import pytest
from aiohttp import web
from ports import free_port
from real_nginx import running_nginx
from scripted import HANG, RESET, TRUNCATE, Scripted, completion, error
from waiting import until

from batchline.api.endpoints import INTERACTIVE
from batchline.settings import Settings
from gateway.app import serve
from gateway.keys import Patience

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hé?"}]
ASK = {"model": "m", "messages": MESSAGES}
KEYS = {"message", "type", "param", "code"}


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def gateway(starts, upstream):
    """A gateway before one scripted model server."""
    return await starts(upstream_url=upstream.url)


def delta(text):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n"


def events(*pieces, gate=None, torn=False):
    """Answer with server-sent events; each but the first waits for `gate`."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, piece in enumerate(pieces):
            if number and gate:
                await gate.wait()
            await response.write(piece)
        if torn:
            request.transport.close()
        return response

    return answer


class TestWhatPasses:
    """Bodies both ways, the path, the useful headers."""

    async def test_the_stock_client_chats(self, gateway, upstream):
        """One base_url: files, batches and this."""
        upstream.script = lambda body, attempt: web.json_response(completion("hi", model="m"))

        answer = await gateway.client.chat.completions.create(model="m", messages=MESSAGES)

        assert answer.choices[0].message.content == "hi"
        assert answer._request_id.startswith("req_")

    @pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/chat/completions"])
    async def test_an_upstream_below_a_path_is_asked_there(self, starts, end):
        """However its address ends."""
        async with Scripted(path="/team/llm") as server:
            gateway = await starts(upstream_url=server.url + end)

            answer = await gateway.call("POST", CHAT, json=ASK)

        assert answer.status == 200
        assert answer.json["choices"][0]["message"]["content"] == "ok"

    async def test_the_stock_client_sees_the_raw_answer(self, gateway, upstream):
        """Status and headers as well."""
        raw = await gateway.client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES
        )

        assert raw.status_code == 200
        assert raw.parse().choices[0].message.content == "ok"

    async def test_the_stock_client_embeds(self, gateway, upstream):
        """Embeddings, in the base64 form that the client asks for by itself."""
        item = {"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        upstream.script = lambda body, attempt: web.json_response(
            {"object": "list", "data": [item], "model": "m", "usage": usage}
        )

        answer = await gateway.client.embeddings.create(model="m", input="x")

        assert answer.data[0].embedding == [1.0, 2.0]

    @pytest.mark.spec("beyond-proxy-stream")
    async def test_the_stock_client_streams_token_by_token(self, gateway, upstream):
        """Each piece is with the client before the next one is made, and [DONE] ends it."""
        gate = asyncio.Event()
        pieces = delta("one"), delta("two") + b"data: [DONE]\n\n"
        upstream.script = lambda body, attempt: events(*pieces, gate=gate)

        stream = await gateway.client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True
        )
        seen = []
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)
            gate.set()

        assert seen == ["one", "two"]

    @pytest.mark.spec("beyond-proxy-stream")
    async def test_events_arrive_byte_for_byte_and_unheld(self, gateway, upstream):
        """No proxy before the gateway may hold them back either."""
        pieces = delta("é"), b": comment\n\n", b"data: [DONE]\n\n"
        upstream.script = lambda body, attempt: events(*pieces)

        answer = await gateway.call("POST", CHAT, json=ASK | {"stream": True})

        assert answer.body == b"".join(pieces)
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["X-Accel-Buffering"] == "no"

    @pytest.mark.spec("beyond-proxy")
    @pytest.mark.parametrize("path", INTERACTIVE)
    async def test_every_endpoint_passes_both_bodies_untouched(self, gateway, upstream, path):
        """Spaces, odd numbers and vendor parameters are nobody's business."""
        sent = b'{ "model":"m","big":123456789012345678901234567890,"x":null , "u":"\\u00e9"}\n'
        got = b'{"id" : "1",\n "f":1.0e5, "text":"\xe2\x80\xa8"}  '
        upstream.script = lambda body, attempt: web.Response(
            body=got, content_type="application/json"
        )

        answer = await gateway.call("POST", path, data=sent)

        assert (answer.status, answer.body) == (200, got)
        assert [(r.path, r.body) for r in upstream.requests] == [(path, sent)]

    async def test_a_chunked_body_passes(self, gateway, upstream):
        """Its length need not be known."""

        async def pieces():
            yield b'{"a":'
            yield b"1}"

        answer = await gateway.call("POST", CHAT, data=pieces())

        assert answer.status == 200
        assert upstream.requests[0].body == b'{"a":1}'

    async def test_a_compressed_body_is_unpacked(self, gateway, upstream):
        """Model servers do not unpack by themselves."""
        packed = gzip.compress(b'{"a":1}')

        answer = await gateway.call("POST", CHAT, data=packed, headers={"Content-Encoding": "gzip"})

        assert answer.status == 200
        assert upstream.requests[0].body == b'{"a":1}'

    async def test_useful_headers_go_to_the_upstream_and_no_others(self, gateway, upstream):
        """Tracing passes; cookies, keys and what rules one connection do not."""
        passing = {"Traceparent": "00-1-2-01", "User-Agent": "me/1", "Accept": "text/event-stream"}
        stopped = {
            "Authorization": "Bearer mine",
            "Cookie": "a=b",
            "X-Forwarded-For": "1.2.3.4",
            "X-Request-Id": "mine",
            "Connection": "x-hop",
            "X-Hop": "1",
            "Te": "trailers",
            "OpenAI-Organization": "o",
        }

        await gateway.call("POST", CHAT, json=ASK, headers=passing | stopped)

        seen = upstream.requests[0].headers
        assert {name: seen[name] for name in passing} == passing
        assert (
            not {k.lower() for k in stopped} - {"x-request-id", "connection"}
            & {k.lower() for k in seen}
            & {k.lower() for k in stopped} - {"x-request-id", "connection"}
        )
        assert seen["Content-Type"] == "application/json"
        assert seen["Host"] == upstream.url.removeprefix("http://")

    async def test_one_request_id_names_the_request_everywhere(self, gateway, upstream):
        """The gateway's own goes both ways: a client's might not be unique."""
        upstream.script = lambda body, attempt: web.json_response(
            completion(), headers={"X-Request-Id": "theirs"}
        )

        answer = await gateway.call("POST", CHAT, json=ASK, headers={"X-Request-Id": "mine"})

        assert answer.headers.getall("x-request-id") == upstream.request_ids
        assert upstream.request_ids[0].startswith("req_")

    async def test_useful_headers_come_back_and_no_others(self, gateway, upstream):
        """Limits and hints pass; cookies, addresses and what rules one connection do not."""
        passing = {"x-ratelimit-remaining-requests": "7", "Cache-Control": "no-store"}
        stopped = {
            "Set-Cookie": "a=b",
            "X-Upstream": "10.0.0.1:8000",
            "Keep-Alive": "timeout=5",
            "X-Accel-Redirect": "/secret",
        }
        upstream.script = lambda body, attempt: web.json_response(
            completion(), headers=passing | stopped
        )

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert {name: answer.headers[name] for name in passing} == passing
        assert not {name.lower() for name in answer.headers} & {name.lower() for name in stopped}
        assert answer.headers["Server"] == "batchline"
        assert answer.headers["Content-Length"] == str(len(answer.body))

    async def test_more_requests_run_at_once_than_clients_of_aiohttp_allow(self, gateway, upstream):
        """The engines queue; the gateway does not hold anybody back."""
        upstream.script = lambda body, attempt: HANG
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            tasks = [
                asyncio.ensure_future(http.post(gateway.url + CHAT, json=ASK)) for _ in range(120)
            ]
            await until(lambda: upstream.most_in_flight == 120, saw=lambda: upstream.most_in_flight)
            upstream.release.set()

            answers = await asyncio.gather(*tasks)

        assert {answer.status for answer in answers} == {200}


class TestRules:
    """What a request may not ask of an engine never reaches one."""

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ('"chat_template": "{{ 1 }}"', "unsupported_parameter"),
            ('"prompt_embeds": ["aa"]', "unsupported_parameter"),
            ('"n": 129', "integer_above_max_value"),
            ('"n": 1, "\\u006e": 1e9', "integer_above_max_value"),
            ('"x": {"n": 1}, "n": "16384"', "integer_above_max_value"),
            (f'"x": "{"y" * 300_000}", "n": 129', "integer_above_max_value"),
        ],
        ids=lambda value: str(value)[:30],
    )
    async def test_a_body_that_breaks_one_is_refused(self, gateway, upstream, fields, code):
        """However it is written, and wherever it stands; the message names field and setting."""
        answer = await gateway.call("POST", CHAT, data=b'{"model": "m", %b}' % fields.encode())

        refused = answer.json["error"]
        name = "n" if "n" in refused["param"] else refused["param"]
        assert (answer.status, refused["code"]) == (400, code)
        assert f"'{name}'" in refused["message"]
        assert "BATCHLINE_" in refused["message"]
        assert upstream.requests == []

    @pytest.mark.parametrize(
        "fields",
        [
            '"n": 128, "chat_template": null',
            '"x": {"n": 1000, "chat_template": "y"}, "z": ["chat_template"]',
            '"n": 1000, "n": 1',  # the last one counts, here as in Python
        ],
    )
    async def test_a_body_that_keeps_them_passes(self, gateway, upstream, fields):
        """What is nested, null or within the bound is nobody's business."""
        sent = b'{"model": "m", %b}' % fields.encode()

        answer = await gateway.call("POST", CHAT, data=sent)

        assert answer.status == 200
        assert upstream.requests[0].body == sent

    async def test_the_operator_names_others(self, starts, upstream):
        """By two settings."""
        gateway = await starts(
            upstream_url=upstream.url, refused_fields="seed", highest_values="max_tokens=10"
        )

        seed = await gateway.call("POST", CHAT, json=ASK | {"seed": 1})
        many = await gateway.call("POST", CHAT, json=ASK | {"max_tokens": 11})
        fine = await gateway.call("POST", CHAT, json=ASK | {"n": 999, "chat_template": "x"})

        assert (seed.status, many.status, fine.status) == (400, 400, 200)

    @pytest.mark.parametrize(
        "sent",
        [b"", b"[1]", b"{", b'{"n": NaN}', '{"n": 999}'.encode("utf-16"), b"[" * 100_000],
        ids=lambda value: repr(value[:12]),
    )
    async def test_what_is_no_json_object_is_refused(self, gateway, upstream, sent):
        """A rule that cannot be checked is not taken for kept."""
        answer = await gateway.call("POST", CHAT, data=sent)

        assert answer.status == 400
        assert "JSON" in answer.json["error"]["message"]
        assert upstream.requests == []


class TestLongBodies:
    """They wait in a file until they are whole."""

    async def test_a_long_body_arrives_byte_for_byte(self, gateway, upstream):
        """As a short one does, and nothing is left of it."""
        sent = b'{"model": "m", "x": "%b"}' % (b"0123456789abcdef" * 200_000)
        before = {path.name for path in gateway.folder.iterdir()}

        answer = await gateway.call("POST", CHAT, data=sent)

        assert answer.status == 200
        assert upstream.requests[0].body == sent
        assert {path.name for path in gateway.folder.iterdir()} == before

    async def test_nothing_is_taken_in_without_room_on_the_disk(self, starts, upstream):
        """A short one needs none."""
        gateway = await starts(upstream_url=upstream.url, min_free_bytes=1 << 60)

        long = await gateway.call("POST", CHAT, json=ASK | {"x": "y" * 100_000})
        short = await gateway.call("POST", CHAT, json=ASK)

        assert (long.status, short.status) == (507, 200)


class TestTheKey:
    """Ours opens the gateway, the upstream's own opens the upstream."""

    async def test_without_our_key_nothing_passes(self, starts, upstream):
        """As on every route of /v1."""
        gateway = await starts(upstream_url=upstream.url, api_key="ours")

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert answer.status == 401
        assert upstream.requests == []

    async def test_the_upstream_gets_its_own_key_and_never_ours(self, starts, upstream):
        """Whatever the client sent."""
        gateway = await starts(upstream_url=upstream.url, api_key="ours", upstream_api_key="theirs")

        await gateway.client.with_options(api_key="ours").chat.completions.create(
            model="m", messages=MESSAGES
        )

        assert upstream.requests[0].headers["Authorization"] == "Bearer theirs"


class TestErrorsOfTheUpstream:
    """OpenAI's pass as they are; others are put into OpenAI's form."""

    @pytest.mark.spec("beyond-proxy-errors")
    @pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 502, 503])
    async def test_an_error_object_passes_byte_for_byte(self, gateway, upstream, status):
        """With its status and its advice when to come back."""
        got = b'{"error": {"message":"mine" , "type":"BadRequestError","param":null,"code":400}}'
        headers = {"Retry-After": "7", "Content-Type": "application/json; charset=utf-8"}
        upstream.script = lambda body, attempt: web.Response(
            status=status, body=got, headers=headers
        )

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert (answer.status, answer.body) == (status, got)
        assert answer.headers["Retry-After"] == "7"

    async def test_the_stock_client_raises_the_class_of_the_status(self, gateway, upstream):
        """As if it talked to the model server."""
        upstream.script = lambda body, attempt: error(404, "no such model", code="model_not_found")

        with pytest.raises(openai.NotFoundError, match="no such model") as caught:
            await gateway.client.chat.completions.create(model="n", messages=MESSAGES)

        assert caught.value.code == "model_not_found"

    @pytest.mark.parametrize(
        ("status", "type_", "got"),
        [
            (404, "application/json", b'{"detail": "Not Found"}'),
            (401, "application/json", b'{"error": "Unauthorized"}'),
            (400, "application/json", b'{"object": "error", "message": "too long"}'),
            (400, "application/json", b"[1]"),
            (413, "text/html", b"<html><h1>413</h1></html>"),
            (422, "application/json", b'{"detail": [{"loc": ["body"]}]}'),
            (429, "text/plain", b"slow down"),
            (500, "text/plain", b"Internal Server Error"),
            (502, "text/html", b"<html>bad gateway</html>"),
            (503, "text/html", b""),
            (503, "application/json", b'{"error": nul'),
            (418, "application/json", b"\xff\xfe"),
            (500, "application/json", b"[" * 100_000),
            (500, "text/html", b"x" * 3_000_000),
        ],
        ids=str,
    )
    async def test_any_other_error_becomes_one_of_openais(
        self, gateway, upstream, status, type_, got
    ):
        """The status stays; clients need not know what stands in between."""
        upstream.script = lambda body, attempt: web.Response(
            status=status, body=got, content_type=type_
        )

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert answer.status == status
        assert answer.json["error"].keys() == KEYS
        assert f"answered {status}" in answer.json["error"]["message"]
        kind = "invalid_request_error" if status < 500 else "server_error"
        assert answer.json["error"]["type"] == kind

    async def test_a_redirect_is_not_followed(self, gateway, upstream):
        """It would carry the upstream's key elsewhere."""
        upstream.script = lambda body, attempt: web.Response(
            status=307, headers={"Location": "http://127.0.0.1:1/"}
        )

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert answer.status == 502
        assert "BATCHLINE_UPSTREAM_URL" in answer.json["error"]["message"]
        assert "Location" not in answer.headers


class TestBreaks:
    """An upstream that is away, breaks off or falls silent."""

    @pytest.mark.spec("1-retry-after", "beyond-proxy-no-backend")
    async def test_nobody_there_is_a_503_to_come_back_to(self, starts):
        """The stock client does so by itself."""
        gateway = await starts(upstream_url=f"http://127.0.0.1:{free_port()}")

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert answer.status == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.json["error"]["code"] == "no_backend"
        assert answer.json["error"].keys() == KEYS

    async def test_a_reset_before_any_byte_is_a_502(self, gateway, upstream):
        """Nothing had begun, so an error can still be told."""
        upstream.script = lambda body, attempt: RESET

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert (answer.status, answer.json["error"]["code"]) == (502, "backend_failed")

    @pytest.mark.parametrize("status", [200, 500])
    async def test_a_reset_after_the_headers_is_a_502_too(self, gateway, upstream, status):
        """No byte of the body had come."""

        async def headers_only(request):
            response = web.StreamResponse(status=status)
            await response.prepare(request)
            await response.write(b"")
            request.transport.abort()
            return response

        upstream.script = lambda body, attempt: headers_only

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert (answer.status, answer.json["error"]["code"]) == (502, "backend_failed")

    async def test_a_half_answer_is_torn(self, gateway, upstream, caplog):
        """The client cannot take it for the whole; the log tells, without a traceback."""
        upstream.script = lambda body, attempt: TRUNCATE

        with caplog.at_level(logging.INFO), pytest.raises(aiohttp.ClientPayloadError):
            await gateway.call("POST", CHAT, json=ASK)

        told = [r for r in caplog.records if "in mid-answer" in r.getMessage()]
        assert len(told) == 1
        assert not any(record.exc_info for record in caplog.records)

    async def test_a_stream_that_breaks_never_ends_silently(self, gateway, upstream):
        """The stock client raises instead of returning half a text."""
        upstream.script = lambda body, attempt: events(delta("one"), torn=True)

        stream = await gateway.client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True
        )
        assert (await anext(stream)).choices[0].delta.content == "one"
        with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
            await anext(stream)

    async def test_silence_before_the_answer_is_a_504(self, starts, upstream):
        """The longest silence is a setting."""
        gateway = await starts(upstream_url=upstream.url, request_timeout_s=0.1)
        upstream.script = lambda body, attempt: HANG

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert (answer.status, answer.json["error"]["code"]) == (504, "request_timeout")
        await upstream.left.wait()

    async def test_silence_in_mid_answer_tears_it(self, starts, upstream):
        """And frees the model server."""
        gateway = await starts(upstream_url=upstream.url, request_timeout_s=1)
        upstream.script = lambda body, attempt: events(b"one", b"two", gate=asyncio.Event())

        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.call("POST", CHAT, json=ASK)

        await upstream.left.wait()

    async def test_an_upstream_that_takes_nothing_is_a_504(self, starts):
        """A large body cannot wait for ever for a server that hangs."""
        server = await asyncio.start_server(
            lambda reader, writer: asyncio.Event().wait(), "127.0.0.1", 0, limit=1
        )
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        gateway = await starts(upstream_url=url, patience=Patience(stall_s=0.2))

        answer = await gateway.call("POST", CHAT, data=b"{" + b" " * (15 << 20) + b"}")

        assert (answer.status, answer.json["error"]["code"]) == (504, "request_timeout")
        server.close()


class TestClientsThatLeave:
    """The upstream is told at once: a generation nobody waits for burns the GPU."""

    @pytest.mark.spec("beyond-proxy-disconnect")
    async def test_before_the_first_byte(self, gateway, upstream, caplog):
        """Not only when the next byte cannot be delivered."""
        upstream.script = lambda body, attempt: HANG
        call = asyncio.create_task(gateway.call("POST", CHAT, json=ASK))
        await upstream.arrived.wait()

        with caplog.at_level(logging.INFO):
            call.cancel()
            await upstream.left.wait()
            await asyncio.wait([call])

        assert caplog.records == []

    @pytest.mark.spec("beyond-proxy-disconnect")
    async def test_in_mid_answer(self, gateway, upstream):
        """Between two tokens."""
        upstream.script = lambda body, attempt: events(b"one", b"two", gate=asyncio.Event())
        async with aiohttp.ClientSession() as http:
            answer = await http.post(gateway.url + CHAT, json=ASK)
            assert await answer.content.readany() == b"one"

        await upstream.left.wait()

    async def test_in_mid_request(self, gateway, upstream):
        """Half a request goes nowhere."""
        gauge = gateway.metrics.interactive_in_flight.labels(CHAT)._value
        _, writer = await asyncio.open_connection(*gateway.address)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
        )
        writer.write(b'{"a": 1}')
        await until(gauge.get)

        writer.transport.abort()

        await until(lambda: not gauge.get())
        assert not upstream.begun.is_set()

    async def test_the_gauge_goes_back(self, gateway, upstream):
        """What is in flight is counted while it is, by route."""
        upstream.script = lambda body, attempt: HANG
        gauge = gateway.metrics.interactive_in_flight.labels(CHAT)._value
        call = asyncio.create_task(gateway.call("POST", CHAT, json=ASK))
        await upstream.arrived.wait()
        assert gauge.get() == 1

        call.cancel()

        await until(lambda: not gauge.get())


class TestBodies:
    """A size and a pace that every request keeps to."""

    async def test_an_announced_giant_is_refused_before_anything_is_sent(self, starts, upstream):
        """The message names the limit and the setting."""
        gateway = await starts(upstream_url=upstream.url, max_line_bytes=100)

        answer = await gateway.call("POST", CHAT, data=b"x" * 101)

        assert answer.status == 413
        assert "100 bytes (BATCHLINE_MAX_LINE_BYTES)" in answer.json["error"]["message"]
        assert not upstream.begun.is_set()

    @pytest.mark.parametrize("encoding", [None, "gzip"])
    async def test_a_giant_that_was_not_announced_is_refused(self, starts, upstream, encoding):
        """Chunks are counted, unpacked ones too; the upstream never sees a whole request."""
        gateway = await starts(upstream_url=upstream.url, max_line_bytes=100)
        content = b" " * 5000

        async def pieces():
            yield gzip.compress(content) if encoding else content

        answer = await gateway.call(
            "POST",
            CHAT,
            data=pieces(),
            headers={"Content-Encoding": encoding} if encoding else {},
        )

        assert answer.status == 413
        assert upstream.requests == []

    async def test_a_body_of_just_the_limit_passes(self, starts, upstream):
        """The limit itself is allowed."""
        gateway = await starts(upstream_url=upstream.url, max_line_bytes=100)

        answer = await gateway.call("POST", CHAT, data=b"{}".ljust(100))

        assert answer.status == 200

    async def test_a_body_that_stops_is_a_408(self, starts, upstream):
        """A slow sender cannot hold a connection for ever."""
        gateway = await starts(upstream_url=upstream.url, patience=Patience(stall_s=0.1))
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )

        head = await reader.readuntil(b"\r\n\r\n")

        assert b" 408 " in head.split(b"\r\n")[0]
        assert upstream.requests == []
        writer.close()

    async def test_broken_chunks_are_a_400(self, gateway, upstream):
        """The client's fault is not taken for the upstream's."""
        gauge = gateway.metrics.interactive_in_flight.labels(CHAT)._value
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n"
        )
        await until(gauge.get)
        writer.write(b"zz\r\n")

        head = await reader.readuntil(b"\r\n\r\n")

        assert b" 400 " in head.split(b"\r\n")[0]
        assert not upstream.begun.is_set()
        writer.close()

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_other_methods_are_not_passed(self, gateway, upstream, method):
        """Only POST is part of the contract."""
        answer = await gateway.call(method, CHAT)

        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert not upstream.begun.is_set()


async def test_answers_are_counted_by_route_and_status_and_timed(gateway, upstream):
    """Also the time until the first byte."""
    upstream.script = lambda body, attempt: error(429) if attempt > 1 else events(b"one")

    for _ in range(2):
        await gateway.call("POST", CHAT, json=ASK)

    page = (await gateway.call("GET", "/metrics")).body.decode()
    route = f'route="{CHAT}"'
    for code in (200, 429):
        line = f'batchline_http_requests_total{{code="{code}",method="POST",{route}}} 1.0'
        assert line in page
    assert f"batchline_interactive_first_byte_seconds_count{{{route}}} 1.0" in page
    assert f"batchline_interactive_requests_in_flight{{{route}}} 0.0" in page


async def test_a_stop_lets_a_stream_finish(tmp_path, upstream):
    """Within the grace; the session to the upstream is closed last."""
    gate, stop, port = asyncio.Event(), asyncio.Event(), free_port()
    upstream.script = lambda body, attempt: events(b"one", b"two", gate=gate)
    settings = Settings(data_dir=tmp_path, port=port, upstream_url=upstream.url, grace_s=20)
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as http:
        served = tasks.create_task(serve(settings, stop))
        answer = await answered(http, f"http://127.0.0.1:{port}{CHAT}")
        first = await answer.content.readany()
        stop.set()
        await until(partial(refuses, port))
        gate.set()

        rest = await answer.content.read()
        await served

    assert (first, rest) == (b"one", b"two")


async def answered(http, url):
    return await until(lambda: http.post(url, json=ASK), not_yet=aiohttp.ClientConnectionError)


async def refuses(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


class TestWithNginxBetween:
    """The way of the deployed system: gateway, real nginx, model servers."""

    @pytest.fixture
    async def others(self):
        async with Scripted() as one, Scripted() as two, Scripted() as three:
            yield [one, two, three]

    @pytest.fixture
    async def gateway(self, starts, others, tmp_path):
        addresses = [server.url.removeprefix("http://") for server in others]
        async with running_nginx(addresses, tmp_path) as url:
            yield await starts(upstream_url=url)

    @staticmethod
    def script(servers, answer):
        for server in servers:
            server.script = lambda body, attempt: answer

    async def test_tokens_are_not_held_back(self, gateway, others):
        """Nginx passes each on as it comes."""
        gate = asyncio.Event()
        self.script(others, events(b"one", b"two", gate=gate))

        async with gateway.http.post(gateway.url + CHAT, json=ASK) as answer:
            first = await answer.content.readany()
            gate.set()
            rest = await answer.read()

        assert (first, rest) == (b"one", b"two")

    async def test_a_client_that_leaves_frees_the_engine(self, gateway, others):
        """Through both, before the first byte."""
        self.script(others, HANG)
        call = asyncio.create_task(gateway.call("POST", CHAT, json=ASK))
        await first_of(*(server.arrived for server in others))

        call.cancel()

        await first_of(*(server.left for server in others))

    async def test_a_client_that_leaves_in_mid_answer_frees_the_engine(self, gateway, others):
        """Through both, between two tokens."""
        self.script(others, events(b"one", b"two", gate=asyncio.Event()))
        async with aiohttp.ClientSession() as http:
            answer = await http.post(gateway.url + CHAT, json=ASK)
            assert await answer.content.readany() == b"one"

        await first_of(*(server.left for server in others))

    async def test_a_lost_server_costs_no_request(self, gateway, others):
        """Nginx sends it once more."""
        others[0].script = lambda body, attempt: RESET

        answers = [await gateway.call("POST", CHAT, json=ASK) for _ in range(6)]

        assert {answer.status for answer in answers} == {200}

    async def test_a_poison_request_reaches_two_servers_at_most(self, gateway, others):
        """No more than a line of a batch does at once."""
        self.script(others, RESET)

        answer = await gateway.call("POST", CHAT, json=ASK)

        assert (answer.status, answer.json["error"]["code"]) == (502, "backend_failed")
        assert sum(len(server.requests) for server in others) == 2

    async def test_nobody_in_service_is_a_503_to_come_back_to(self, gateway, others):
        """Nginx's own answer for this is told as a state that passes."""
        for server in others:
            await server.vanish()

        answers = [await gateway.call("POST", CHAT, json=ASK) for _ in range(2)]

        for answer in answers:
            assert (answer.status, answer.json["error"]["code"]) == (503, "no_backend")
            assert answer.headers["Retry-After"] == "2"

    @pytest.mark.parametrize("answer", [TRUNCATE, events(b"one", torn=True)], ids=["sized", "sse"])
    async def test_a_break_in_mid_answer_is_torn_and_not_sent_again(self, gateway, others, answer):
        """Through nginx as without it."""
        self.script(others, answer)

        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.call("POST", CHAT, json=ASK)

        assert sum(len(server.requests) for server in others) == 1


async def first_of(*flags):
    tasks = [asyncio.ensure_future(flag.wait()) for flag in flags]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
