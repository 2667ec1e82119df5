"""The handler that pushes results to a URL, against a real receiver."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from handler_bench import survey_of
from standardwebhooks import Webhook

from batchline.webhooks.records import DeliveryState, new_secret

PENDING, DELIVERED, GIVEN_UP = DeliveryState
LINES = 250

DYING = """
    import os, signal
    from deliver.builtin.webhook import Webhook

    @register_handler
    class Dying(Webhook):
        name = "dying"

        async def handle(self, batch, results, context):
            keep = context.checkpoint

            async def checkpoint(state=None):
                if context.attempt <= 2 and results.taken > 60 * context.attempt:
                    os.kill(os.getpid(), signal.SIGKILL)  # sent, and nobody knows it
                await keep(state)

            context.checkpoint = checkpoint
            await super().handle(batch, results, context)
"""


async def test_each_line_arrives_and_a_repeated_one_under_its_id(make_handlers, receiver):
    """The handler is killed twice in the middle; the receiver is away once."""
    secret = new_secret()
    section = {"url": receiver.url, "secret": secret, "lines": 50, "networks": ["127.0.0.0/8"]}
    bench = await make_handlers(DYING, sections={"dying": section})
    batch = await bench.completed(LINES, failed=[3], refused=[4])
    receiver.script = lambda _: 503 if len(receiver.taken) == 4 else 200

    states = []
    for _ in range(4):
        await bench.round()
        states.append((await bench.delivery()).state)
        if len(states) == 3:
            receiver.script = lambda _: 200
        bench.clock.advance(3600)

    assert states == [PENDING, PENDING, PENDING, DELIVERED]
    event = (await bench.delivery()).event.id
    by_id = {}
    for told in receiver.taken:
        assert by_id.setdefault(told.id, told.body) == told.body, "one id, one body"
        assert told.headers["batchline-batch"] == batch.id
        assert told.headers["Content-Type"] == "application/x-ndjson"
        assert told.headers["webhook-signature"] == signature_of(told, secret)
    assert list(by_id) == [f"{event}.{first}-{first + 49}" for first in range(0, LINES, 50)]
    assert len(receiver.taken) > len(by_id), "something was sent twice"
    lines = [json.loads(line) for body in by_id.values() for line in body.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"c{i}" for i in range(LINES)]
    assert [line["error"] for line in lines[2:4]] == [
        None,
        {"code": "server_error", "message": "it died"},
    ]


def signature_of(told, secret):
    at = datetime.fromtimestamp(int(told.headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(told.id, at, told.body.decode())


async def test_a_receiver_that_is_gone_gets_nothing_more(make_handlers, receiver):
    """410; and a request without a secret is not signed."""
    section = {"url": receiver.url, "networks": ["127.0.0.0/8"]}
    bench = await make_handlers(sections={"webhook": section})
    await bench.completed(2)
    receiver.script = lambda _: 410

    await bench.round()

    (told,) = receiver.told
    assert "webhook-signature" not in told.headers
    assert (await bench.delivery()).state is GIVEN_UP


async def test_wrong_receivers_are_faults(tmp_path):
    """As they are refused where clients register them."""
    wrong = {
        "a": {"handler": "webhook"},
        "b": {"handler": "webhook", "url": "https://10.0.0.1/x"},
        "c": {"handler": "webhook", "url": "https://example.com", "networks": ["no"]},
        "d": {"handler": "webhook", "url": "https://example.com", "secret": "whsec_!"},
        "e": {"handler": "webhook", "url": "https://example.com", "lines": 501},
    }
    faults = "\n".join((await survey_of(tmp_path, sections=wrong)).faults)
    for told in ("`url`", "10.0.0.1", "'no'", "d: ", "501"):
        assert told in faults
