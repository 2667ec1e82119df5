"""Files sent in parts by the openai package for Python, and the batches made of them."""

from __future__ import annotations

import asyncio
import hashlib
import json

import openai
import pytest
from echoes import CHAT, TERMINAL, chat_line, compare, jsonl
from waiting import wait_until

REQUESTS = [chat_line(f"r{n}", f"q{n}") for n in range(60)]
CONTENT = jsonl(REQUESTS)
PART_BYTES = 1000  # several parts, cut in the middle of lines


def ended(client, file_id):
    batch = client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")

    def poll():
        found = client.batches.retrieve(batch.id)
        return found if found.status in TERMINAL else None

    return wait_until(poll)


@pytest.mark.spec("8-sdk-chunked", "8-complete-md5", "8-complete")
@pytest.mark.parametrize("with_md5", [True, False], ids=["with md5", "without md5"])
@pytest.mark.parametrize("source", ["a path", "bytes"])
def test_upload_file_chunked_makes_a_file_for_a_batch(client, tmp_path, source, with_md5):
    """In one call: parts in order, the file completed, a batch run over it, every line compared."""
    path = tmp_path / "big.jsonl"
    path.write_bytes(CONTENT)
    given = (
        {"file": path}
        if source == "a path"
        else {"file": CONTENT, "filename": "big.jsonl", "bytes": len(CONTENT)}
    )
    if with_md5:
        given["md5"] = hashlib.md5(CONTENT).hexdigest()

    upload = client.uploads.upload_file_chunked(
        mime_type="application/jsonl", purpose="batch", part_size=PART_BYTES, **given
    )
    batch = ended(client, upload.file.id)

    assert (upload.status, upload.bytes, upload.file.bytes) == ("completed", *[len(CONTENT)] * 2)
    assert upload.file.filename == upload.filename == "big.jsonl"
    assert client.files.content(upload.file.id).content == CONTENT
    assert batch.status == "completed"
    text = client.files.content(batch.output_file_id).text
    compare([json.loads(line) for line in text.splitlines()], REQUESTS)


@pytest.mark.spec("8-sdk-chunked")
def test_one_part_is_enough(client, tmp_path):
    """With the SDK's own part size of 64 MB a small file is one part."""
    path = tmp_path / "small.jsonl"
    path.write_bytes(CONTENT)

    upload = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch"
    )

    assert client.files.content(upload.file.id).content == CONTENT


@pytest.mark.spec("8-parallel-parts")
async def test_parts_may_be_sent_all_at_once(aclient):
    """Their order is that of part_ids, whichever arrived first."""
    pieces = [CONTENT[n : n + PART_BYTES] for n in range(0, len(CONTENT), PART_BYTES)]
    upload = await aclient.uploads.create(
        filename="p.jsonl", purpose="batch", bytes=len(CONTENT), mime_type="application/jsonl"
    )

    parts = await asyncio.gather(
        *(aclient.uploads.parts.create(upload.id, data=piece) for piece in pieces)
    )
    done = await aclient.uploads.complete(upload.id, part_ids=[part.id for part in parts])

    assert {part.upload_id for part in parts} == {upload.id}
    assert (await aclient.files.content(done.file.id)).content == CONTENT


async def test_the_asynchronous_client_uploads_in_chunks(aclient, tmp_path):
    """upload_file_chunked of AsyncOpenAI."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(CONTENT)

    upload = await aclient.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=PART_BYTES
    )

    assert (await aclient.files.content(upload.file.id)).content == CONTENT


@pytest.mark.spec("8-cancel", "8-not-pending", "8-unknown", "8-complete-md5")
def test_uploads_are_cancelled_and_refused(client):
    """Cancel answers `cancelled`; afterwards, or with a wrong md5, the SDK raises BadRequestError."""
    upload, other = (
        client.uploads.create(
            filename="p.jsonl", purpose="batch", bytes=len(CONTENT), mime_type="text/plain"
        )
        for _ in range(2)
    )
    part = client.uploads.parts.create(upload.id, data=CONTENT)
    other_part = client.uploads.parts.create(other.id, data=CONTENT)

    cancelled = client.uploads.cancel(upload.id)

    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(other.id, part_ids=[other_part.id], md5="0" * 32)
    assert caught.value.param == "md5"
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_none")
