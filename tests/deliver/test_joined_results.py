"""Results beside the requests that they answer, as the deliverer reads them."""

from __future__ import annotations

import json

from ended_batches import chat_request, ended_batch_of

from batchline.results.joined import joined
from batchline.results.reader import Reader
from batchline.results.settled import KnownPlaces

LINES = 40
LONG = "x" * 100_000


async def test_pieces_are_small_though_requests_are_large(store, blobs, make_batch, clock):
    """Short answers to images: a piece is one message to a handler, and lies in memory as a whole."""
    batch = await ended_batch_of(store, blobs, make_batch, LINES)
    requests = [json.dumps(chat_request(i) | {"image": LONG}).encode() for i in range(LINES)]
    writer = blobs.create(batch.input_key)
    await writer.write(b"\n".join(requests))
    await writer.commit()
    reader = Reader(store, blobs, clock=clock, known=KnownPlaces())

    pieces = [piece async for piece in joined(reader, blobs, batch, start=1, with_requests=True)]

    assert [(index, line) for piece in pieces for index, _, line in piece] == [
        *enumerate(requests)
    ][1:]
    assert max(sum(len(line) for *_, line in piece) for piece in pieces) < 5 * len(LONG)
