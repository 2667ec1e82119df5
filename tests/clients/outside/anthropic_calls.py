"""Uses the anthropic package against a server; a script of its own, since its environment is not ours.

Usage: anthropic_calls.py BASE_URL. Prints what it saw in each scenario, as one line of JSON. Objects are parsed
by the package's own types, strictly, before they are shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import anthropic
from anthropic.types.beta.messages import BetaMessageBatch
from anthropic.types.messages import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchIndividualResponse,
)
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel
from waiting import until, wait_until

KEY = os.environ["CLIENT_TEST_KEY"]
ODD = {
    "plain": "What is 2 + 2?",
    "x" * 64: "a long custom_id",
    "-_-": "ünïcödé-日本-🎉",
    "separators": "one\u2028two\u2029three\u0085four",
    "controls": 'tab\tnewline\nreturn\rquote"backslash\\nul\u0000',
}


def params(prompt: str, **more: Any) -> Any:
    message = {"role": "user", "content": prompt}
    return {"model": "m", "max_tokens": 64, "messages": [message]} | more


def requests(prompts: dict[str, str]) -> list[Any]:
    return [{"custom_id": key, "params": params(prompt)} for key, prompt in prompts.items()]


def strict(kind: type[BaseModel], text: str | bytes) -> Any:
    """Parse JSON as this type: nothing of another type, every field there, none invented."""
    parsed = kind.model_validate_json(text, strict=True)
    missing = set(kind.model_fields) - parsed.model_fields_set
    extra = set(parsed.model_extra or {})
    assert not missing, (kind, missing)
    assert not extra, (kind, extra)
    return parsed.model_dump(mode="json")


def round_trip(client: anthropic.Anthropic) -> Any:
    batches = client.messages.batches
    bad = {"custom_id": "bad", "params": {"model": "m", "messages": []}}
    refused = {"custom_id": "refused", "params": params("REFUSE")}
    created = batches.with_raw_response.create(requests=[*requests(ODD), bad, refused])
    made = strict(MessageBatch, created.text())

    def ended() -> Any:
        raw = batches.with_raw_response.retrieve(made["id"])
        batch = strict(MessageBatch, raw.text())
        return batch if batch["processing_status"] == "ended" else None

    last = wait_until(ended, every_s=0.1)
    lines = [
        MessageBatchIndividualResponse.model_validate_json(line, strict=True)
        for line in client.get(last["results_url"], cast_to=str).splitlines()
    ]
    results = [result.model_dump(mode="json") for result in batches.results(made["id"])]
    assert [line.model_dump(mode="json") for line in lines] == results
    deleted = strict(DeletedMessageBatch, batches.with_raw_response.delete(made["id"]).text())
    return {
        "created": made,
        "ended": last,
        "request_id": created.headers["request-id"],
        "results": results,
        "deleted": deleted,
    }


async def cancelling(url: str) -> Any:
    """By the asynchronous client, and its beta."""
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client:
        batches = client.beta.messages.batches
        waiting = {f"w{n}": "WAIT" for n in range(3)}
        made = await batches.create(
            requests=requests(waiting), betas=["message-batches-2024-09-24"]
        )
        cancelled = await batches.with_raw_response.cancel(made.id)
        first = strict(BetaMessageBatch, await cancelled.text())

        async def ended() -> Any:
            batch = await batches.retrieve(made.id)
            return batch if batch.processing_status == "ended" else None

        last = await until(ended, every_s=0.1)
        results = [line.model_dump(mode="json") async for line in await batches.results(made.id)]
        return {
            "cancelled": first,
            "ended": last.model_dump(mode="json"),
            "results": results,
        }


def paging(client: anthropic.Anthropic) -> Any:
    batches = client.messages.batches
    made = [batches.create(requests=requests({"a": "x"})).id for _ in range(5)]
    down = []
    for batch in batches.list(limit=2):
        down.append(batch.id)
        if batch.id == made[0]:
            break
    page = batches.list(limit=2, before_id=made[0])
    up = [page.data]
    while page.has_next_page():
        page = page.get_next_page()
        up.append(page.data)
    return {"made": made, "down": down, "up": [[batch.id for batch in data] for data in up]}


def interactive(client: anthropic.Anthropic) -> Any:
    answer = client.messages.create(**params("Hello"))
    with client.messages.stream(**params("Hello again")) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    return {
        "answer": answer.content[0].text,
        "request_id": answer._request_id,
        "usage": answer.usage.model_dump(mode="json"),
        "pieces": pieces,
        "final": [final.stop_reason, final.content[0].text],
        "tokens": client.messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "four"}]
        ).input_tokens,
    }


def errors(client: anthropic.Anthropic, url: str) -> Any:
    """Each as the package raises it: its class, and the body parsed strictly."""
    batches = client.messages.batches
    stranger = anthropic.Anthropic(base_url=url, api_key="another", max_retries=0)
    asked = {
        "refused": lambda: client.messages.create(**params("REFUSE")),
        "wrong_key": stranger.messages.batches.list,
        "unknown": lambda: batches.retrieve("msgbatch_x"),
        "bad_id": lambda: batches.create(requests=requests({"a b": "x"})),
        "twice": lambda: batches.create(requests=requests({"a": "x"}) * 2),
        "limit": lambda: batches.list(limit=5000),
    }
    return {name: raised(call) for name, call in asked.items()}


def raised(call: Any) -> Any:
    try:
        call()
    except anthropic.APIStatusError as exc:
        told = strict(ErrorResponse, exc.response.text)
        is_named = told["request_id"] == exc.request_id
        return [type(exc).__name__, told["error"]["type"], told["error"]["message"], is_named]
    return None


def main() -> None:
    (url,) = sys.argv[1:]
    with anthropic.Anthropic(base_url=url, api_key=KEY) as client:
        seen = {
            "round_trip": round_trip(client),
            "cancelling": asyncio.run(cancelling(url)),
            "paging": paging(client),
            "interactive": interactive(client),
            "errors": errors(client, url),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
