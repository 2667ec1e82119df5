"""Interactive audio: forms pass to a model server byte for byte, within a bound, if they keep the rules."""

from __future__ import annotations

import json

import aiohttp
import pytest
from scripted import Scripted

TRANSCRIPTIONS = "/v1/audio/transcriptions"
PATHS = (TRANSCRIPTIONS, "/v1/audio/translations")
WAV = b"RIFF" + bytes(range(256)) * 1000


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def gateway(starts, upstream):
    return await starts(upstream_url=upstream.url)


def form(**fields):
    found = aiohttp.FormData()
    for name, value in ({"model": "m", "file": WAV} | fields).items():
        is_file = isinstance(value, bytes)
        found.add_field(name, value, **({"filename": "a.wav"} if is_file else {}))
    return found


@pytest.mark.spec("beyond-proxy")
@pytest.mark.parametrize("path", PATHS)
async def test_a_form_passes_with_its_file(gateway, upstream, path):
    """A long one, too, which waits in a file until it is whole."""
    answer = await gateway.call("POST", path, data=form(language="de"))

    (request,) = upstream.requests
    assert (answer.status, answer.json) == (200, {"text": "Hello."})
    assert request.path == path
    assert request.form["file"].content == WAV
    assert (request.form["model"], request.form["language"]) == ("m", "de")


async def test_the_stock_client(gateway, upstream):
    """Its arrays are fields with brackets."""
    answer = await gateway.client.audio.transcriptions.create(
        model="m",
        file=("speech.wav", WAV),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )

    assert answer.text == "Hello."
    assert upstream.requests[0].form["timestamp_granularities[]"] == "word"


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"chat_template": "x"}, "chat_template"), ({"n": "129"}, "n"), ({"n[]": "129"}, "n")],
)
async def test_a_form_that_breaks_a_rule_is_refused(gateway, upstream, fields, param):
    """As a JSON body is; nothing was sent on."""
    answer = await gateway.call("POST", TRANSCRIPTIONS, data=form(**fields))

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert "BATCHLINE_" in answer.json["error"]["message"]
    assert upstream.requests == []


async def test_a_form_that_keeps_the_rules_passes(gateway, upstream):
    """Within a bound, and whatever other fields say."""
    answer = await gateway.call("POST", TRANSCRIPTIONS, data=form(n="128", prompt="chat_template"))

    assert answer.status == 200


@pytest.mark.parametrize("sent", [b"", b"--b\r\n", b"x" * 100_000], ids=["none", "cut", "no form"])
async def test_a_broken_form_is_refused(gateway, upstream, sent):
    """Its fields cannot be checked."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await gateway.call("POST", TRANSCRIPTIONS, data=sent, headers=headers)

    assert answer.status == 400
    assert "The form is broken" in answer.json["error"]["message"]
    assert upstream.requests == []


async def test_the_bound_is_that_of_audio(starts, upstream):
    """Which may be larger than a line; a form elsewhere is no form."""
    gateway = await starts(
        upstream_url=upstream.url, max_line_bytes=1000, media_max_bytes=len(WAV) + 1000
    )

    fits = await gateway.call("POST", TRANSCRIPTIONS, data=form())
    large = await gateway.call("POST", TRANSCRIPTIONS, data=form(file=WAV + bytes(1000)))
    elsewhere = await gateway.call("POST", "/v1/chat/completions", data=form(file=b"x"))

    assert (fits.status, large.status, elsewhere.status) == (200, 413, 400)
    assert "BATCHLINE_MEDIA_MAX_BYTES" in large.json["error"]["message"]


async def test_errors_of_the_model_server_pass(gateway, upstream):
    """Where it does not offer audio, the client hears so."""
    upstream.absent = set(PATHS)

    answer = await gateway.call("POST", TRANSCRIPTIONS, data=form())

    assert answer.status == 404
    assert "Not Found" in answer.json["error"]["message"]


async def test_a_json_body_passes_as_ever(gateway, upstream):
    """The model server says what it thinks of it."""
    answer = await gateway.call("POST", TRANSCRIPTIONS, data=json.dumps({"model": "m"}))

    assert answer.status == 200
