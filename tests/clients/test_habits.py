"""Habits of published clients, played as they are written: what each of them does unguarded must hold."""

from __future__ import annotations

import io
import json
import re
import urllib.request

import pytest
from echoes import CHAT, TERMINAL, chat_line, compare, jsonl, odd_lines
from waiting import wait_until

STATUSES = {"validating", "in_progress", "finalizing", "cancelling"} | TERMINAL


def run(client, content, **fields):
    """Upload and create; return file and batch."""
    file = client.files.create(file=content, purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", **fields
    )
    return file, batch


def ended(client, batch):
    def poll():
        found = client.batches.retrieve(batch.id)
        return found if found.status in TERMINAL else None

    return wait_until(poll)


def plain_get(url):
    """Download with a generic client that sends no header of OpenAI's."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers, answer.read()


@pytest.mark.spec("2.1-status-processed", "3.1-counts-object", "3.1-statuses", "3.5-atomic-end")
def test_curators_poll_reads_everything_unguarded(client):
    """It adds up request_counts from the first answer on, raises on unknown words, trusts the end."""
    file, batch = run(client, io.BytesIO(jsonl(odd_lines())))
    seen = [batch]

    while batch.status not in TERMINAL:  # no pause: the more answers, the likelier a torn end
        batch = client.batches.retrieve(batch.id)
        seen.append(batch)
    lines = client.files.content(batch.output_file_id).text.splitlines()

    assert (file.status, file.filename) == ("processed", "upload")
    assert {b.status for b in seen} <= STATUSES
    done = [b.request_counts.completed + b.request_counts.failed for b in seen]
    assert done == sorted(done)
    assert seen[0].request_counts.total == 0
    assert batch.request_counts.completed == batch.request_counts.total == len(lines)
    assert all(b.output_file_id is None for b in seen if b.status not in TERMINAL)


@pytest.mark.spec("6-http-failure", "3.1-error-file-null", "6-four-keys")
def test_langasync_reads_both_files_alike(client):
    """It calls .get on every line's response, in both files, and never on null where the server answered."""
    _, batch = run(client, jsonl([chat_line("good", "fine"), chat_line("bad", "REFUSE")]))
    batch = ended(client, batch)

    results = {}
    for file_id in (batch.output_file_id, batch.error_file_id):
        for line in client.files.content(file_id).text.strip().split("\n"):
            result = json.loads(line)
            body = result["response"].get("body", {})
            results[result["custom_id"]] = body.get("error", {}).get("message") or body["choices"]

    assert results["bad"] == "max_tokens is too large: 99999."
    assert results["good"][0]["message"]["content"] == "echo: fine"


@pytest.mark.spec("6-final-newline", "6-no-blank-no-bom")
def test_langbatch_appends_files_to_each_other(client):
    """Two outputs and an error file, one behind the other, are still JSON Lines."""
    first = odd_lines()
    second = [chat_line("s", "fine"), chat_line("bad", "REFUSE")]
    batches = [ended(client, run(client, jsonl(requests))[1]) for requests in (first, second)]

    whole = b"".join(
        client.files.content(file_id).content
        for batch in batches
        for file_id in (batch.output_file_id, batch.error_file_id)
        if file_id
    )

    ids = [json.loads(line)["custom_id"] for line in whole.decode().splitlines()]
    assert ids == [line["custom_id"] for line in first + second]


@pytest.mark.spec("2.5-batch-allowed", "3.5-conservation", "6-cancelled")
def test_pydantic_ai_rereads_the_input_to_learn_what_never_ran(client):
    """Input less output less real failures is what the error file names as cancelled."""
    file, batch = run(
        client,
        jsonl([chat_line("done", "fine"), *(chat_line(f"w{n}", "WAIT") for n in range(5))]),
    )
    wait_until(lambda: client.batches.retrieve(batch.id).request_counts.completed == 1)
    client.batches.cancel(batch.id)
    batch = ended(client, batch)

    def ids(file_id):
        return [json.loads(x)["custom_id"] for x in client.files.content(file_id).text.splitlines()]

    asked, done, unrun = ids(file.id), ids(batch.output_file_id), ids(batch.error_file_id)
    assert [i for i in asked if i not in done] == unrun


@pytest.mark.spec("3.1-error-line", "5-blank-lines", "3.1-errors-object")
def test_validation_errors_are_mapped_to_requests_by_line(client):
    """`errors.data[].line` is the physical line, so that splitting the input by newlines finds it."""
    good, bad = jsonl([chat_line("a", "x")]), jsonl([chat_line("b", "y") | {"url": "/v1/other"}])
    content = good + b"\n\r\n" + bad + b"\n" + bad[:-20]
    _, batch = run(client, content)

    batch = ended(client, batch)

    named = {error.line: content.split(b"\n")[error.line - 1] for error in batch.errors.data}
    assert named == {4: bad.rstrip(b"\n"), 6: bad[:-20]}
    assert [error.code for error in batch.errors.data] == ["invalid_url", "invalid_json_line"]


@pytest.mark.spec("2.5-octet-stream", "2.5-content-length", "2.5-offset-ignored")
def test_results_are_fetched_without_any_sdk(client, service):
    """A plain GET gets raw bytes that no client takes for one JSON document; ?offset= changes nothing."""
    requests = odd_lines()
    _, batch = run(client, jsonl(requests))
    batch = ended(client, batch)
    url = f"{service.url}/v1/files/{batch.output_file_id}/content"

    headers, content = plain_get(url)
    _, again = plain_get(f"{url}?offset=3")

    assert headers["content-type"] == "application/octet-stream"
    assert int(headers["content-length"]) == len(content)
    assert again == content
    compare([json.loads(line) for line in content.decode().splitlines()], requests)


@pytest.mark.spec("1-id-url-safe", "6-unique-ids")
def test_ids_go_into_paths_as_they_are(client):
    """Batchwork refuses other characters, langasync puts ids into URLs without escaping."""
    _, batch = run(client, jsonl([chat_line("a", "fine"), chat_line("b", "REFUSE")]))
    batch = ended(client, batch)
    line = json.loads(client.files.content(batch.output_file_id).text)

    ids = [batch.id, batch.input_file_id, batch.output_file_id, batch.error_file_id, line["id"]]

    assert [i for i in ids if not re.fullmatch(r"[A-Za-z0-9_-]+", i)] == []
    assert len(set(ids)) == len(ids)


@pytest.mark.spec("2.4-delete-of-finished")
def test_steadybatch_tidies_up_after_itself(client):
    """Input and output are deleted once read, and the batch still tells of them."""
    _, batch = run(client, jsonl(odd_lines()))
    batch = ended(client, batch)

    for file_id in (batch.input_file_id, batch.output_file_id):
        assert client.files.delete(file_id).deleted

    assert client.batches.retrieve(batch.id) == batch


@pytest.mark.spec("3.2-metadata-optional", "3.1-metadata-null", "5-stream-false")
def test_odd_but_legal_requests_pass(client):
    """Empty metadata, `stream: false`, explicit nulls, no final newline, a name without extension."""
    requests = [
        chat_line("a", "fine", stream=False, response_format=None, tools=None, max_tokens=None)
    ]

    _, empty = run(client, jsonl(requests).rstrip(b"\n"), metadata={})
    _, none = run(client, jsonl(requests), metadata=None)

    assert ended(client, empty).status == ended(client, none).status == "completed"
    assert empty.metadata == {}
    assert none.metadata is None


@pytest.mark.spec("3.3-newest-first", "3.3-limit-100")
def test_a_lost_batch_is_found_by_its_metadata(client):
    """Dspy and others look through the newest hundred for a tag of their own."""
    _, batch = run(client, jsonl(odd_lines()), metadata={"tag": "find me"})

    found = [b.id for b in client.batches.list(limit=100) if (b.metadata or {}).get("tag")]

    assert found == [batch.id]
