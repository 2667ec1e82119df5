"""Responses in the background on real processes that are killed while they run."""

from __future__ import annotations

import asyncio
from collections import Counter

import openai
from aiohttp import web
from waiting import until

MANY = 60


def answer(body, attempt):
    """What was asked comes back; one is refused, as by a model server."""
    if body["tag"] == "bad":
        error = {"message": "no such thing", "type": "BadRequestError", "code": 400}
        return web.json_response({"error": error}, status=400)
    return web.json_response(
        {
            "id": "resp_theirs",
            "object": "response",
            "created_at": 1,
            "model": body["model"],
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "id": "msg",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": body["input"], "annotations": []}],
                }
            ],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 3,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 5,
            },
        }
    )


async def test_each_response_is_answered_though_everything_is_killed(make_system, upstream):
    """Sixty, gateway and dispatcher killed -9 in the middle; what is interactive is answered at once."""
    upstream.script = answer
    system = make_system(max_in_flight=4, lease_s=1)
    await asyncio.to_thread(system.wait_ready)
    async with openai.AsyncOpenAI(
        base_url=system.url + "/v1", api_key="any", max_retries=8
    ) as client:

        async def ask(number):
            text = f"number {number}"
            tag = "bad" if number == 7 else str(number)
            made = await client.responses.create(
                model="m",
                input=text,
                background=True,
                service_tier="flex",
                extra_body={"tag": tag},
            )
            assert made.status == "queued"
            return made.id, text

        first = await asyncio.gather(*(ask(number) for number in range(MANY // 2)))
        await until(lambda: sum(upstream.seen.values()) >= 5)
        await asyncio.to_thread(system.kill, "dispatcher")
        rest = await asyncio.gather(*(ask(number) for number in range(MANY // 2, MANY)))
        await asyncio.to_thread(system.kill, "gateway")
        system.start("gateway", "dispatcher")
        await asyncio.to_thread(system.wait_ready)

        async def ended(response_id):
            async def is_over():
                shown = await client.responses.retrieve(response_id)
                return None if shown.status in {"queued", "in_progress"} else shown

            return await until(is_over, every_s=0.2)

        asked = [*first, *rest]
        shown = await asyncio.gather(*(ended(response_id) for response_id, _ in asked))
        now = await client.responses.create(model="m", input="at once", extra_body={"tag": "x"})
        listed = await client.batches.list()

    assert Counter(one.status for one in shown) == {"completed": MANY - 1, "failed": 1}
    assert len({one.id for one in shown}) == MANY
    for one, (response_id, text) in zip(shown, asked, strict=True):
        assert one.id == response_id
        if one.status == "completed":
            assert one.output_text == text
            assert one.usage.total_tokens == 5
        else:
            assert (text, one.error.message) == ("number 7", "no such thing")
    assert (now.id, now.output_text) == ("resp_theirs", "at once")
    assert listed.data == []
