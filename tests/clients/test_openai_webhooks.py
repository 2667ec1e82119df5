"""Each call of `client.webhooks` of the openai package for Python, synchronous and not."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import openai
import pytest

TYPES = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]


@contextmanager
def receiving():
    """Run a server of the standard library in a thread; yield its address and what it takes."""
    taken = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((body, dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Take) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        yield SimpleNamespace(url=url, taken=taken)
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.mark.spec("9-endpoint-calls", "9-unwrap", "9-event-types")
def test_every_call_of_the_synchronous_client(client, receiver):
    """From creating an endpoint to its end, and the event that it was sent."""
    hooks = client.webhooks
    made = hooks.create(name="a", url=receiver.url, event_types=["batch.failed"])
    other = hooks.create(name="b", url=receiver.url, event_types=TYPES)

    assert hooks.event_types.list().data == TYPES
    assert [one.id for one in hooks.list(limit=1)][:2] == [other.id, made.id]
    assert hooks.update(made.id, event_types=TYPES).event_types == TYPES
    rotated = hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert hooks.retrieve(made.id).signing_secret_hint == rotated.signing_secret_hint
    assert hooks.test(made.id, event_type="batch.expired").status_code == 204
    (taken,) = receiver.taken
    for secret in (made.signing_secret, rotated.signing_secret):
        event = hooks.unwrap(*taken, secret=secret)
        assert isinstance(event, openai.types.webhooks.BatchExpiredWebhookEvent)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        hooks.unwrap(*taken, secret=other.signing_secret)
    assert hooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        hooks.retrieve(made.id)


@pytest.mark.spec("9-endpoint-calls", "9-unwrap", "9-event-types")
async def test_every_call_of_the_asynchronous_client(aclient, receiver):
    """The same for AsyncOpenAI."""
    hooks = aclient.webhooks
    made = await hooks.create(name="a", url=receiver.url, event_types=["batch.failed"])

    assert (await hooks.event_types.list()).data == TYPES
    assert made.id in [one.id async for one in hooks.list(limit=1)]
    assert (await hooks.update(made.id, name="b")).name == "b"
    rotated = await hooks.rotate_secret(made.id)
    shown = await hooks.retrieve(made.id)
    assert shown.signing_secret_hint == rotated.signing_secret_hint
    assert (await hooks.test(made.id, event_type="batch.completed")).status_code == 204
    event = hooks.unwrap(*receiver.taken[0], secret=rotated.signing_secret)
    assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent)
    assert (await hooks.delete(made.id)).deleted


@pytest.mark.spec("9-endpoint-calls")
def test_raw_and_streaming_responses_parse(client, receiver):
    """As those of files and batches do."""
    hooks = client.webhooks
    made = hooks.create(name="a", url=receiver.url, event_types=TYPES)

    raw = hooks.with_raw_response.retrieve(made.id)
    with hooks.with_streaming_response.retrieve(made.id) as streamed:
        assert streamed.parse() == raw.parse()
    assert raw.parse().id == made.id
    assert raw.headers["content-type"].startswith("application/json")
