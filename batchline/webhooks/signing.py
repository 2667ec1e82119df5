"""The body of an event, and the headers by which its receiver knows us (Standard Webhooks).

OpenAI's packages verify both with `client.webhooks.unwrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook

from .records import Event


def body_of(event: Event) -> bytes:
    """Write an event as OpenAI does: it names the batch and holds nothing of it."""
    return msgspec.json.encode(
        {
            "id": event.id,
            "object": "event",
            "created_at": event.created_at,
            "type": event.type,
            "data": {"id": event.batch_id},
        }
    )


def signed_headers(
    event_id: str, body: bytes, secrets: Sequence[str], *, now: float
) -> dict[str, str]:
    """Sign with each secret: receivers know one of them while a secret is being rotated."""
    at = datetime.fromtimestamp(int(now), UTC)  # the library takes any other zone for UTC
    text = body.decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(one).sign(event_id, at, text) for one in secrets),
        "Content-Type": "application/json",
    }
