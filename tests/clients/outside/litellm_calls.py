"""Uses litellm's file and batch calls against a server; a script of its own, since litellm has its own environment.

Usage: litellm_calls.py BASE_URL FOLDER; the folder holds SCENARIO.jsonl, the input of each scenario. All of them
run at once (the import alone takes seconds); prints what each of them saw, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import litellm
from waiting import until, wait_until

TERMINAL = {"completed", "failed", "expired", "cancelled"}
CHAT = "/v1/chat/completions"


def server(url: str, provider: str = "openai") -> dict[str, str]:
    """The arguments by which every call finds the server."""
    return {
        "custom_llm_provider": provider,
        "api_base": url,
        "api_key": os.environ["CLIENT_TEST_KEY"],
    }


def shown(thing: Any) -> Any:
    """What litellm kept of an object."""
    return json.loads(thing.model_dump_json())


async def until_ended(batch_id: str, where: dict[str, str]) -> Any:
    async def ended() -> Any:
        batch = await litellm.aretrieve_batch(batch_id=batch_id, **where)
        return batch if batch.status in TERMINAL else None

    return await until(ended, every_s=0.1)


async def read(file_id: str | None, where: dict[str, str]) -> str | None:
    if file_id is None:
        return None
    content = await litellm.afile_content(file_id=file_id, **where)
    return content.content.decode()


async def round_trip(url: str, path: Path, provider: str = "openai") -> Any:
    """Upload, create, retrieve, list, download, delete, all by the asynchronous calls."""
    where = server(url, provider)
    with path.open("rb") as handle:
        file = await litellm.acreate_file(file=handle, purpose="batch", **where)
    found = await litellm.afile_retrieve(file_id=file.id, **where)
    batch = await litellm.acreate_batch(
        completion_window="24h",
        endpoint=CHAT,
        input_file_id=file.id,
        metadata={"by": "litellm"},
        **where,
    )
    listed = await litellm.alist_batches(limit=20, **where)
    ended = await until_ended(batch.id, where)
    output = await read(ended.output_file_id, where)
    errors = await read(ended.error_file_id, where)
    deleted = await litellm.afile_delete(file_id=file.id, **where)
    return {
        "file": shown(file),
        "found": shown(found),
        "created": shown(batch),
        "ended": shown(ended),
        "listed": [b.id for b in listed.data],
        "output": output,
        "errors": errors,
        "deleted": deleted.deleted,
    }


async def hosted_vllm(url: str, path: Path) -> Any:
    """The same under the provider name that litellm keeps for vLLM servers."""
    return await round_trip(url, path, provider="hosted_vllm")


async def cancel(url: str, path: Path) -> Any:
    """Create a batch that would never end, and cancel it."""
    where = server(url)
    file = await litellm.acreate_file(file=path.read_bytes(), purpose="batch", **where)
    batch = await litellm.acreate_batch(
        completion_window="24h", endpoint=CHAT, input_file_id=file.id, **where
    )
    answer = await litellm.acancel_batch(batch_id=batch.id, **where)
    ended = await until_ended(batch.id, where)
    return {"answer": shown(answer), "ended": shown(ended), "uploaded_as": file.filename}


async def bad_file(url: str, path: Path) -> Any:
    """A batch that fails, a cancel that comes too late, and what is not there."""
    where = server(url)
    file = await litellm.acreate_file(file=path, purpose="batch", **where)
    batch = await litellm.acreate_batch(
        completion_window="24h", endpoint=CHAT, input_file_id=file.id, **where
    )
    ended = await until_ended(batch.id, where)
    calls = {
        "cancel": litellm.acancel_batch(batch_id=batch.id, **where),
        "unknown batch": litellm.aretrieve_batch(batch_id="batch_none", **where),
        "unknown file": litellm.acreate_batch(
            completion_window="24h", endpoint=CHAT, input_file_id="file-none", **where
        ),
    }
    return {
        "ended": shown(ended),
        "refused": {name: await refusal(call) for name, call in calls.items()},
    }


async def refusal(call: Awaitable[Any]) -> Any:
    """Return status and text of what the call raises: litellm has classes of its own."""
    try:
        await call
    except Exception as exc:  # noqa: BLE001 - whichever of them it is
        return {"status": getattr(exc, "status_code", None), "message": str(exc)}
    return None


async def blocking(url: str, path: Path) -> Any:
    """The synchronous calls."""
    return await asyncio.to_thread(use_blocking, url, path)


def use_blocking(url: str, path: Path) -> Any:
    where = server(url)
    file = litellm.create_file(file=path, purpose="batch", **where)
    batch = litellm.create_batch(
        completion_window="24h", endpoint=CHAT, input_file_id=file.id, **where
    )

    def found() -> Any:
        shown = litellm.retrieve_batch(batch_id=batch.id, **where)
        return shown if shown.status in TERMINAL else None

    ended = wait_until(found, every_s=0.1)
    endless = litellm.create_file(file=path.with_name("cancel.jsonl"), purpose="batch", **where)
    waiting = litellm.create_batch(
        completion_window="24h", endpoint=CHAT, input_file_id=endless.id, **where
    )
    return {
        "ended": shown(ended),
        "cancelled": shown(litellm.cancel_batch(batch_id=waiting.id, **where)),
        "listed": [b.id for b in litellm.list_batches(limit=20, **where).data],
        "files": file.id in [f.id for f in litellm.file_list(**where)],
        "output": litellm.file_content(file_id=ended.output_file_id, **where).text,
    }


SCENARIOS = (round_trip, hosted_vllm, cancel, bad_file, blocking)


async def main(url: str, folder: Path) -> None:
    """Run all scenarios at once."""
    seen = await asyncio.gather(*(s(url, folder / f"{s.__name__}.jsonl") for s in SCENARIOS))
    names = [scenario.__name__ for scenario in SCENARIOS]
    print(json.dumps(dict(zip(names, seen, strict=True))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
