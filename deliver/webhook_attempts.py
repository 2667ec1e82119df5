"""Attempts at deliveries to receivers of webhooks: sign, send, and say what becomes of the delivery."""

from __future__ import annotations

from collections.abc import Callable

from batchline.clock import Clock
from batchline.serving.retry_after import parse_retry_after
from batchline.webhooks.patience import after_failure
from batchline.webhooks.post import Answer, Poster
from batchline.webhooks.records import Attempted, ClaimedDelivery, DeliveryState
from batchline.webhooks.signing import body_of, signed_headers


class WebhookAttempts:
    """Sends events. `secret`: what signs where no endpoint has one."""

    def __init__(
        self, poster: Poster, secret: str | None, *, clock: Clock, luck: Callable[[], float]
    ) -> None:
        self._poster = poster
        self._secret = secret
        self._clock = clock
        self._luck = luck

    async def attempt(self, claimed: ClaimedDelivery) -> Attempted:
        """Send the event once."""
        return self._judge(claimed, await self._post(claimed))

    async def _post(self, claimed: ClaimedDelivery) -> Answer:
        secrets = claimed.secrets or ([self._secret] if self._secret else [])
        if not secrets:
            return Answer(None, "BATCHLINE_WEBHOOK_SECRET is not set, so nothing can be signed.")
        event = claimed.delivery.event
        body = body_of(event)
        headers = signed_headers(event.id, body, secrets, now=self._clock.now())
        return await self._poster.post(claimed.delivery.url, body, headers)

    def _judge(self, claimed: ClaimedDelivery, answer: Answer) -> Attempted:
        if answer.is_taken:
            return Attempted(DeliveryState.DELIVERED, status=answer.status)
        now = self._clock.now()
        return after_failure(
            attempts=claimed.delivery.attempts,
            since=claimed.delivery.since,
            now=now,
            luck=self._luck(),
            status=answer.status,
            error=answer.error or "",
            asked_s=parse_retry_after(answer.retry_after, now=now),
        )
