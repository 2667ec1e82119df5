"""Whole round trips of the openai package for Python: upload, create, wait, download, compare every line."""

from __future__ import annotations

import asyncio
import io
import json

import openai
import pytest
from echoes import (
    CHAT,
    REFUSAL,
    TERMINAL,
    chat_line,
    compare,
    jsonl,
    odd_lines,
)
from installed import KEY
from waiting import until, wait_until


def create(client, file, endpoint=CHAT, **fields):
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields
    )


def ended(client, batch):
    """Poll until the batch has ended; return its last state."""

    def poll():
        found = client.batches.retrieve(batch.id)
        return found if found.status in TERMINAL else None

    return wait_until(poll)


async def ended_async(client, batch):
    """Do the same with the asynchronous client."""

    async def poll():
        found = await client.batches.retrieve(batch.id)
        return found if found.status in TERMINAL else None

    return await until(poll)


def lines_of(client, file_id):
    """Read a result file the way most scripts do: by splitlines()."""
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def as_path(folder, content):
    path = folder / "requests.jsonl"
    path.write_bytes(content)
    return path


WAYS = {
    "bytes": (lambda folder, content: content, "upload"),
    "a stream of bytes": (lambda folder, content: io.BytesIO(content), "upload"),
    "a path": (as_path, "requests.jsonl"),
    "an open file": (lambda folder, content: as_path(folder, content).open("rb"), "requests.jsonl"),
    "name and bytes": (lambda folder, content: ("a b.jsonl", content), "a b.jsonl"),
    "with a type": (
        lambda folder, content: ("ü.jsonl", content, "application/jsonl"),
        "ü.jsonl",
    ),
}


@pytest.fixture(params=["service", "locked"])
async def aclient(request):
    """The asynchronous client, without a key and with one."""
    url = request.getfixturevalue(request.param).url
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as made:
        yield made


@pytest.mark.spec(
    "2.2-nameless-upload", "2.2-any-filename", "2.2-utf8-filename", "6-output-successes"
)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_hand_over_a_file_makes_a_batch(client, tmp_path, way):
    """bytes, BytesIO, paths, handles and tuples all upload, run and come back line by line."""
    make, name = WAYS[way]
    requests = odd_lines()

    file = client.files.create(file=make(tmp_path, jsonl(requests)), purpose="batch")
    file = client.files.wait_for_processing(file.id, poll_interval=0.1, max_wait_seconds=20)
    batch = ended(client, create(client, file))

    assert (file.filename, file.bytes) == (name, len(jsonl(requests)))
    assert (batch.status, batch.error_file_id, batch.errors) == ("completed", None, None)
    assert batch.request_counts.to_dict() == {"total": 8, "completed": 8, "failed": 0}
    compare(lines_of(client, batch.output_file_id), requests)


@pytest.mark.spec("3.1-usage", "3.1-usage-fields", "3.1-metadata", "3.1-model", "3.5-completed")
def test_a_batch_tells_its_whole_story(client):
    """Metadata as sent, model, usage summed, stamps in order, the end all at once."""
    requests = [chat_line(f"r{n}", f"q{n}") for n in range(130)]
    metadata = {"run": "7", "ünï": "🎉" * 500}
    file = client.files.create(file=jsonl(requests), purpose="batch")

    batch = ended(client, create(client, file, metadata=metadata))

    assert batch.metadata == metadata
    assert batch.model == "m"
    assert batch.usage.to_dict() == {
        "input_tokens": 130 * 7,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 130 * 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1300,
    }
    stamps = [
        batch.created_at,
        batch.in_progress_at,
        batch.finalizing_at,
        batch.completed_at,
    ]
    assert stamps == sorted(stamps)
    assert batch.failed_at is batch.expired_at is batch.cancelling_at is batch.cancelled_at is None
    compare(lines_of(client, batch.output_file_id), requests)


def test_embeddings_come_back(client):
    """Another endpoint, lists of inputs, answers without choices."""
    url = "/v1/embeddings"
    requests = [
        {
            "custom_id": f"e{n}",
            "method": "POST",
            "url": url,
            "body": {"model": "m", "input": ["a" * k for k in range(1, n + 2)]},
        }
        for n in range(5)
    ]
    file = client.files.create(file=jsonl(requests), purpose="batch")

    batch = ended(client, create(client, file, endpoint=url))

    assert batch.usage.input_tokens == 15
    compare(lines_of(client, batch.output_file_id), requests)


@pytest.mark.spec("6-http-failure", "3.1-output-null", "3.5-all-failed")
@pytest.mark.parametrize("good", [3, 0], ids=["some refused", "all refused"])
def test_refused_lines_keep_the_servers_answer(client, good):
    """They stand in the error file with status and body, `error` null; the batch is completed all the same."""
    requests = [chat_line(f"g{n}", f"q{n}") for n in range(good)]
    refused = [chat_line(f"b{n}", f"REFUSE {n}") for n in range(2)]
    file = client.files.create(file=jsonl(refused + requests), purpose="batch")

    batch = ended(client, create(client, file))

    assert batch.status == "completed"
    assert batch.request_counts.to_dict() == {"total": good + 2, "completed": good, "failed": 2}
    assert (batch.output_file_id is not None) is (good > 0)
    if good:
        compare(lines_of(client, batch.output_file_id), requests)
    errors = lines_of(client, batch.error_file_id)
    assert [line["custom_id"] for line in errors] == ["b0", "b1"]
    for line in errors:
        assert line["error"] is None
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"] == {"error": REFUSAL}


@pytest.mark.spec(
    "3.4-in-progress", "3.4-prompt", "3.5-cancelled", "6-cancelled", "3.5-conservation"
)
def test_a_cancelled_batch_keeps_what_was_done(client):
    """The answer says cancelling with its stamp; done lines are in the output, all others in the error file."""
    done = [chat_line(f"d{n}", f"q{n}") for n in range(4)]
    waiting = [chat_line(f"w{n}", f"WAIT {n}") for n in range(40)]
    file = client.files.create(file=jsonl(done + waiting), purpose="batch")
    batch = create(client, file)
    wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed == 4)

    answer = client.batches.cancel(batch.id)
    batch = ended(client, batch)
    again = client.batches.cancel(batch.id)

    assert answer.status in {"cancelling", "cancelled"}
    assert answer.cancelling_at is not None
    assert batch.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    assert batch.request_counts.to_dict() == {"total": 44, "completed": 4, "failed": 0}
    assert again == batch
    compare(lines_of(client, batch.output_file_id), done)
    errors = lines_of(client, batch.error_file_id)
    assert [line["custom_id"] for line in errors] == [line["custom_id"] for line in waiting]
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert {line["response"] for line in errors} == {None}


@pytest.mark.spec("3.5-failed", "3.1-errors-object", "3.1-error-fields", "5.1-all-in-order")
def test_a_bad_file_fails_with_its_lines_named(client):
    """`errors` is an object whose data name line, code, message and param; there are no files."""
    bad = jsonl([chat_line("a", "x")]) + b"nonsense\n" + jsonl([chat_line("a", "y")])
    file = client.files.create(file=bad, purpose="batch")

    batch = ended(client, create(client, file))

    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors.object == "list"
    assert [(e.line, e.code, e.param) for e in batch.errors.data] == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
    ]
    assert all(e.message for e in batch.errors.data)
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert batch.output_file_id is batch.error_file_id is None
    assert batch.usage.total_tokens == 0


async def test_the_asynchronous_client_goes_round(aclient):
    """Three batches at once: created, polled, downloaded and compared by AsyncOpenAI."""
    requests = odd_lines()

    async def one():
        file = await aclient.files.create(file=jsonl(requests), purpose="batch")
        file = await aclient.files.wait_for_processing(file.id, poll_interval=0.1)
        batch = await aclient.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h"
        )
        batch = await ended_async(aclient, batch)
        content = await aclient.files.content(batch.output_file_id)
        return batch, [json.loads(line) async for line in await content.aiter_lines()]

    async with asyncio.timeout(60):
        done = await asyncio.gather(*(one() for _ in range(3)))

    assert len({batch.id for batch, _ in done}) == 3
    for batch, lines in done:
        assert batch.status == "completed"
        compare(lines, requests)


async def test_the_asynchronous_client_cancels_and_sees_failures(aclient):
    """Cancel, a refused second try at an ended batch, and a bad file, through AsyncOpenAI."""
    waiting = await aclient.files.create(file=jsonl([chat_line("w", "WAIT")]), purpose="batch")
    bad = await aclient.files.create(file=b"nonsense", purpose="batch")

    async def ends(file, cancel=False):
        batch = await aclient.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h"
        )
        if cancel:
            batch = await aclient.batches.cancel(batch.id)
            assert batch.cancelling_at is not None
        return await ended_async(aclient, batch)

    async with asyncio.timeout(60):
        cancelled, failed = await asyncio.gather(ends(waiting, cancel=True), ends(bad))

    assert (cancelled.status, failed.status) == ("cancelled", "failed")
    with pytest.raises(openai.ConflictError):
        await aclient.batches.cancel(failed.id)
