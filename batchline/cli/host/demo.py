"""The demonstration of `batchline up --demo FILE`: one batch through the HTTP API, answers printed.

Uses the API only, as any client would; knows nothing of the fleet.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from batchline.errors import Unavailable

_POLL_S = 0.5
_LIMIT_S = 900.0  # ten short lines take seconds; a slow machine takes longer
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

Json = dict[str, Any]


def use_model(content: bytes, model: str) -> bytes:
    """Return the batch file with `model` in every line, so that it fits the fleet it is sent to."""
    lines = [json.loads(line) for line in content.splitlines() if line.strip()]
    for line in lines:
        line["body"]["model"] = model
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def prompts_of(content: bytes) -> dict[str, str]:
    """Return the prompt of each line: custom_id → the last message."""
    lines = [json.loads(line) for line in content.splitlines() if line.strip()]
    return {line["custom_id"]: line["body"]["messages"][-1]["content"] for line in lines}


def answers_of(output: Iterable[str]) -> dict[str, str]:
    """Return the lines of an output or error file: custom_id → answer or error."""
    answers = {}
    for text in output:
        line = json.loads(text)
        body = (line.get("response") or {}).get("body") or {}
        if "choices" in body:
            answers[line["custom_id"]] = body["choices"][0]["message"]["content"].strip()
        else:
            answers[line["custom_id"]] = f"failed: {line.get('error') or body}"
    return answers


@dataclass(frozen=True, slots=True)
class Demo:
    """The batch file to send, and the model that answers it."""

    name: str
    content: bytes
    model: str


async def run_demo(demo: Demo, *, url: str, api_key: str | None, out: Console) -> None:
    """Upload the file, wait for its batch, print each answer beside its prompt.

    Raises Unavailable: the API refuses or does not answer, or the batch takes too long.
    """
    content = use_model(demo.content, demo.model)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with (
            asyncio.timeout(_LIMIT_S),
            httpx.AsyncClient(
                base_url=url, headers=headers, trust_env=False, timeout=60.0
            ) as client,
        ):
            batch = await _finish(client, name=demo.name, content=content, out=out)
            answers = await _download(client, batch)
    except httpx.HTTPStatusError as exc:
        raise Unavailable(f"{exc} The answer: {exc.response.text[:500]}") from exc
    except httpx.HTTPError as exc:
        raise Unavailable(f"The API at {url} does not answer: {exc!r}") from exc
    except TimeoutError as exc:
        raise Unavailable(f"The demonstration took longer than {_LIMIT_S:.0f} s.") from exc
    _show(out, prompts_of(content), answers)


async def _finish(client: httpx.AsyncClient, *, name: str, content: bytes, out: Console) -> Json:
    """Upload, create and poll; return the batch in its last state."""
    uploaded = await client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": (name, content)}
    )
    created = await client.post(
        "/v1/batches",
        json={
            "input_file_id": _read(uploaded)["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        },
    )
    batch = _read(created)
    out.print(f"  {name} is batch {batch['id']}")
    while batch["status"] not in _ENDED:
        await asyncio.sleep(_POLL_S)
        batch = _read(await client.get(f"/v1/batches/{batch['id']}"))
    counts = batch["request_counts"]
    out.print(f"  {batch['status']}: {counts['completed']} of {counts['total']} lines answered\n")
    return batch


async def _download(client: httpx.AsyncClient, batch: Json) -> dict[str, str]:
    answers: dict[str, str] = {}
    for name in (batch.get("output_file_id"), batch.get("error_file_id")):
        if name:
            content = (await client.get(f"/v1/files/{name}/content")).raise_for_status()
            answers |= answers_of(content.text.splitlines())
    return answers


def _read(response: httpx.Response) -> Json:
    content: Json = response.raise_for_status().json()
    return content


def _show(out: Console, prompts: dict[str, str], answers: dict[str, str]) -> None:
    for custom_id, prompt in prompts.items():
        out.print(f"  [dim]{escape(custom_id)}[/dim]  {escape(prompt)}")
        out.print(f"    [green]→[/green] {escape(answers.get(custom_id, 'no answer'))}")
