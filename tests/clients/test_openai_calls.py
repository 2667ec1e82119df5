"""Each call of the openai package for Python that concerns files and batches, in each of its styles."""

from __future__ import annotations

import json

import openai
import pytest
from echoes import CHAT, chat_line, jsonl

CONTENT = jsonl([chat_line(f"r{n}", f"q{n} ü") for n in range(40)])
LINES = CONTENT.decode().splitlines()


@pytest.fixture
def file(client):
    return client.files.create(file=("in.jsonl", CONTENT), purpose="batch")


@pytest.fixture
def batch(client, file):
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def written(path, write):
    write(path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Due to a bug")
@pytest.mark.spec("2.5-sdk-ways", "2.5-batch-allowed", "2.5-raw-bytes")
def test_content_is_read_in_every_style(client, file, tmp_path):
    """As text, bytes, lines or pieces, or straight into a file: always the bytes that were uploaded."""

    def content():
        return client.files.content(file.id)

    assert content().text == CONTENT.decode()
    assert content().content == CONTENT
    assert content().read() == CONTENT
    assert b"".join(content().iter_bytes()) == CONTENT
    assert "".join(content().iter_text()) == CONTENT.decode()
    assert list(content().iter_lines()) == LINES
    assert written(tmp_path / "a", content().write_to_file) == CONTENT
    assert written(tmp_path / "b", content().stream_to_file) == CONTENT
    assert content().response.headers["content-type"] == "application/octet-stream"


@pytest.mark.spec("2.5-sdk-ways")
def test_content_is_streamed_in_every_style(client, file, tmp_path):
    """with_streaming_response reads pieces as they come."""

    def streamed():
        return client.files.with_streaming_response.content(file.id)

    with streamed() as response:
        assert list(response.iter_lines()) == LINES
    with streamed() as response:
        assert b"".join(response.iter_bytes(chunk_size=100)) == CONTENT
    with streamed() as response:
        assert "".join(response.iter_text()) == CONTENT.decode()
    with streamed() as response:
        assert response.read() == CONTENT
    with streamed() as response:
        assert written(tmp_path / "c", response.stream_to_file) == CONTENT
    with streamed() as response:
        assert response.headers["content-length"] == str(len(CONTENT))
        assert response.request_id.startswith("req_")


@pytest.mark.spec("2.5-sdk-ways")
@pytest.mark.filterwarnings("ignore:Due to a bug")
async def test_content_is_read_asynchronously_in_every_style(aclient, file, tmp_path):
    """The same for AsyncOpenAI, streamed or not."""
    whole = await aclient.files.content(file.id)
    pieces = await aclient.files.content(file.id)
    target = await aclient.files.content(file.id)
    await target.astream_to_file(tmp_path / "a")

    assert whole.text == CONTENT.decode()
    assert await whole.aread() == CONTENT
    assert b"".join([piece async for piece in await pieces.aiter_bytes()]) == CONTENT
    assert (tmp_path / "a").read_bytes() == CONTENT
    async with aclient.files.with_streaming_response.content(file.id) as response:
        assert [line async for line in response.iter_lines()] == LINES
    async with aclient.files.with_streaming_response.content(file.id) as response:
        await response.stream_to_file(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == CONTENT


@pytest.mark.spec("1-request-id-in-sdk", "1-json-content-type")
def test_raw_responses_show_headers_and_parse(client, file, batch):
    """with_raw_response: status, headers, request id, and the same object as the plain call."""
    raw = {
        "retrieve a file": client.files.with_raw_response.retrieve(file.id),
        "list files": client.files.with_raw_response.list(limit=1),
        "retrieve a batch": client.batches.with_raw_response.retrieve(batch.id),
        "list batches": client.batches.with_raw_response.list(limit=1),
        "models": client.models.with_raw_response.list(),
    }

    for response in raw.values():
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("application/json")
        assert response.request_id == response.headers["x-request-id"]
    assert raw["retrieve a file"].parse() == file
    assert raw["list batches"].parse().data[0].object == "batch"
    assert len({response.request_id for response in raw.values()}) == len(raw)
    assert file._request_id.startswith("req_")


@pytest.mark.spec("1-accept-ignored", "1-sdk-headers-ignored")
def test_streaming_responses_parse(client, file, batch):
    """with_streaming_response of JSON calls parses after the fact."""
    with client.batches.with_streaming_response.retrieve(batch.id) as response:
        assert response.parse().id == batch.id
    with client.files.with_streaming_response.retrieve(file.id) as response:
        assert json.loads(response.read())["id"] == file.id


@pytest.mark.spec("4-each-once", "2.3-limit", "2.3-order")
def test_pages_turn_by_themselves(client):
    """Iterating over a list, or page by page, gives each file and batch once, however small the page."""
    files = [client.files.create(file=CONTENT, purpose="evals").id for _ in range(7)]
    chat = client.files.create(file=CONTENT, purpose="batch")
    batches = [
        client.batches.create(input_file_id=chat.id, endpoint=CHAT, completion_window="24h").id
        for _ in range(5)
    ]

    newest_first = [f.id for f in client.files.list(limit=3, purpose="evals")]
    oldest_first = [f.id for f in client.files.list(limit=2, purpose="evals", order="asc")]
    walked = [b.id for b in client.batches.list(limit=2)]
    page, pages = client.files.list(limit=3, purpose="evals"), []
    while page.data:
        pages.append([f.id for f in page.data])
        page = page.get_next_page() if page.has_next_page() else type(page)(data=[])

    assert newest_first[:7] == files[::-1]
    assert oldest_first == newest_first[::-1]
    assert walked[:5] == batches[::-1]
    assert len(walked) == len(set(walked))
    assert [f for page in pages for f in page] == newest_first
    assert {len(page) for page in pages[:-1]} == {3}


@pytest.mark.spec("4-each-once", "4-after-last")
async def test_pages_turn_asynchronously(aclient, batch):
    """`async for` over files and batches ends, and gives each once."""
    files = [f.id async for f in aclient.files.list(limit=5)]
    batches = [b.id async for b in aclient.batches.list(limit=2)]
    first = await aclient.batches.list(limit=1)
    second = await first.get_next_page() if first.has_next_page() else None

    assert len(files) == len(set(files)) > 0
    assert batches[0] == batch.id
    assert len(batches) == len(set(batches))
    assert second is None or second.data[0].id == batches[1]


@pytest.mark.spec("2.4-show", "2.4-delete", "2.4-deleted-is-gone")
def test_files_are_shown_and_deleted(client, file):
    """Retrieve equals create; delete answers as documented; then the file is gone everywhere."""
    shown = client.files.retrieve(file.id)
    deleted = client.files.delete(file.id)

    assert shown == file
    assert deleted.to_dict() == {"id": file.id, "object": "file", "deleted": True}
    for call in (client.files.retrieve, client.files.delete, client.files.content):
        with pytest.raises(openai.NotFoundError):
            call(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.wait_for_processing(file.id)


@pytest.mark.spec("2.2-expires-after")
def test_expiry_is_asked_for_in_the_clients_own_words(client):
    """expires_after of files and output_expires_after of batches, as the SDK spells them."""
    file = client.files.create(
        file=CONTENT, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )

    assert file.expires_at == file.created_at + 3600
    assert batch.expires_at == batch.created_at + 86400


def test_extra_arguments_do_no_harm(client, file):
    """extra_headers, extra_query, extra_body, timeouts, organisation and project are accepted everywhere."""
    other = client.with_options(timeout=30)
    other.organization, other.project = "org-1", "proj-1"
    extra = {
        "extra_headers": {"X-Custom": "odd \t value"},
        "extra_query": {"x": "1"},
    }

    batch = other.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        extra_body={"unknown": [1, 2]},
        **extra,
    )

    assert other.files.retrieve(file.id, **extra) == file
    assert other.batches.retrieve(batch.id, **extra).id == batch.id
    assert other.batches.list(**extra).data


ERRORS = {
    "bad endpoint": (
        lambda c, f: c.batches.create(
            input_file_id=f.id, endpoint="/v1/x", completion_window="24h"
        ),
        (openai.BadRequestError, 400, "invalid_value", "endpoint"),
    ),
    "bad window": (
        lambda c, f: c.batches.create(input_file_id=f.id, endpoint=CHAT, completion_window="soon"),
        (openai.BadRequestError, 400, ..., "completion_window"),
    ),
    "unknown input": (
        lambda c, f: c.batches.create(
            input_file_id="file-none", endpoint=CHAT, completion_window="24h"
        ),
        (openai.BadRequestError, 400, None, "file_id"),
    ),
    "bad metadata": (
        lambda c, f: c.batches.create(
            input_file_id=f.id, endpoint=CHAT, completion_window="24h", metadata={"k": ["v"]}
        ),
        (openai.BadRequestError, 400, "invalid_type", "metadata.k"),
    ),
    "bad purpose": (
        lambda c, f: c.files.create(file=b"x", purpose="mischief"),
        (openai.BadRequestError, 400, None, "purpose"),
    ),
    "empty input": (
        lambda c, f: c.files.create(file=b"", purpose="batch"),
        (openai.BadRequestError, 400, None, None),
    ),
    "limit too large": (
        lambda c, f: c.batches.list(limit=101),
        (openai.BadRequestError, 400, "integer_above_max_value", "limit"),
    ),
    "unknown file": (
        lambda c, f: c.files.retrieve("file-none"),
        (openai.NotFoundError, 404, None, "id"),
    ),
    "unknown batch": (
        lambda c, f: c.batches.retrieve("batch_none"),
        (openai.NotFoundError, 404, None, None),
    ),
    "unknown model": (
        lambda c, f: c.models.retrieve("gpt-none"),
        (openai.NotFoundError, 404, "model_not_found", "model"),
    ),
    "unknown route": (
        lambda c, f: c.fine_tuning.jobs.list(),
        (openai.NotFoundError, 404, None, None),
    ),
}


@pytest.mark.spec("1-error-object", "1-error-classes", "1-error-unwrapped", "1-error-unknown-route")
@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_raised_by_class_with_code_and_param(client, file, case):
    """The SDK unwraps class, status, code, param, type, message and request id of every error."""
    call, (kind, status, code, param) = ERRORS[case]

    with pytest.raises(openai.APIStatusError) as caught:
        call(client, file)

    error = caught.value
    assert type(error) is kind
    assert error.status_code == status
    assert error.type == "invalid_request_error"
    assert error.param == param
    assert code is ... or error.code == code
    assert error.request_id.startswith("req_")
    assert set(error.body) == {"message", "type", "param", "code"}
    assert str(error).startswith(f"Error code: {status} - ")
    assert error.body["message"] in str(error)


@pytest.mark.spec("1-should-retry-409", "3.4-ended")
def test_a_final_conflict_is_not_repeated(service, client):
    """With its default retries the SDK asks once, since the answer says x-should-retry: false."""
    file = client.files.create(file=b"nonsense", purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    service.ended(batch)
    asked = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [asked.append]})

    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="x", http_client=http) as counting,
        pytest.raises(openai.ConflictError) as caught,
    ):
        counting.batches.cancel(batch.id)

    assert len(asked) == 1
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.body["message"] == "Cannot cancel a batch with status 'failed'."
    assert (caught.value.code, caught.value.param) == (None, None)
