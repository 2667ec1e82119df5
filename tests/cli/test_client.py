"""The client: errors that say what to do, addresses, keys."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web

from batchline.cli.api.client import base_url
from batchline.cli.failure import Failure


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "command",
    [["ls"], ["show"], ["watch"], ["results"], ["cancel", "x", "--yes"]],
    ids=lambda c: c[0],
)
def test_a_server_that_does_not_answer_is_exit_4_with_the_remedy(batchline, command):
    """Connection refused names the address and how to start or name a server."""
    url = f"http://127.0.0.1:{unused_port()}"

    done = batchline(*command, "--url", url)

    assert done.exit_code == 4
    assert f"No server answers at {url}" in done.stderr
    assert "Next: start it with 'batchline serve'" in done.stderr


def test_the_key_is_sent_and_its_lack_explained(batchline, api):
    """--api-key opens; without it the message names the variable."""
    api.key = "secret"

    closed, opened = batchline("ls"), batchline("ls", "--api-key", "secret")

    assert closed.exit_code == 2
    assert "BATCHLINE_API_KEY" in closed.stderr
    assert opened.exit_code == 0


def test_proxies_of_the_environment_are_ignored(batchline, monkeypatch):
    """The gateway is near; a proxy would only lose it."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{unused_port()}")

    assert batchline("ls").exit_code == 0


@pytest.mark.parametrize(
    ("answered", "code", "said"),
    [
        ((200, "<html>"), 4, "not the batch API"),
        ((200, "[]"), 4, "not the batch API"),
        ((502, "<html>bad</html>"), 4, "cannot serve this at present (502)"),
        ((503, '{"error": {"message": "disk is full"}}'), 4, "disk is full"),
        ((429, '{"error": {"message": "slow down"}}'), 4, "slow down"),
        ((400, '{"error": {"message": "wrong limit"}}'), 2, "wrong limit"),
        ((400, '{"error": "text"}'), 2, "Bad Request"),
        ((200, '{"data": [{"id": "x", "status": "odd"}]}'), 4, "is not a batch"),
        ((200, '{"data": [{"id": "../x", "status": "failed"}]}'), 4, "is not a batch"),
        ((200, '{"data": [7]}'), 4, "is not a batch"),
        ((307, ""), 4, "not the batch API"),
    ],
)
def test_odd_answers_are_explained(batchline, serve_app, answered, code, said):
    """Whatever answers at that address, the user learns what it was."""

    async def answer(request):
        return web.Response(status=answered[0], text=answered[1])

    other = web.Application()
    other.router.add_get("/v1/batches", answer)

    done = batchline("ls", "--url", serve_app(other))

    assert done.exit_code == code
    assert said in done.stderr


@pytest.mark.parametrize("key", ["se\ncret", "“secret”"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(batchline, key):
    """Its text never reaches the terminal."""
    done = batchline("ls", "--api-key", key)

    assert done.exit_code == 2
    assert "cret" not in done.stderr


@pytest.mark.parametrize(
    "given",
    [
        "http://h:5000",
        "http://h:5000/v1",
        " http://h:5000/v1/ ",
        "http://h:5000/v1/chat/completions",
    ],
)
def test_an_address_may_carry_what_openai_clients_want(given):
    """With /v1 or without."""
    assert base_url(given) == "http://h:5000"


@pytest.mark.parametrize("given", ["", "gpu-box:5000", "ftp://h", "http://", "http://[::1"])
def test_what_is_no_address_is_refused(given):
    """With an example of one."""
    with pytest.raises(Failure):
        base_url(given)
