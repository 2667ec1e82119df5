"""The handler `webhook`: results are pushed to a URL, for those who share no disk with batchline.

Each request has some lines of the result files as they are. Its `webhook-id` is the batch's key and the
numbers of its first and last line: the same when a later attempt sends those lines again, and another
where the setting for how many they are was changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any

import msgspec

from batchline.clock import Clock
from batchline.errors import Invalid
from batchline.handlers import Context, EndedBatch, GiveUp, Results
from batchline.outbound.addresses import Network
from batchline.webhooks.addresses import accepted_url
from batchline.webhooks.post import Poster, open_poster
from batchline.webhooks.signing import signed_headers
from deliver.builtin.section import read_section

_MOST_LINES = 500
_MOST_BYTES = 1 << 20
_TIMEOUT_S = 60.0


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: str
    secret: str | None = None
    lines: int = _MOST_LINES
    networks: Sequence[str] = ()

    @property
    def allowed(self) -> Sequence[Network]:
        """Private networks that may be sent to. Raises ValueError."""
        return tuple(ip_network(one) for one in self.networks)

    def check(self) -> None:
        """Raise ValueError: nothing can be sent with these."""
        try:
            accepted_url(self.url, param="url", networks=self.allowed)
            if self.secret is not None:
                signed_headers("", b"", [self.secret], now=0)
        except Invalid as exc:
            raise ValueError(str(exc)) from exc
        except (ValueError, RuntimeError) as exc:
            raise ValueError(f"'networks' or 'secret' cannot be used: {exc}") from exc
        if not 1 <= self.lines <= _MOST_LINES:
            raise ValueError(f"'lines' must be 1 to {_MOST_LINES}, not {self.lines}")


class Webhook:
    """Sends results, some lines a request."""

    name = "webhook"

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Whether it shall run. Raises ValueError."""
        read_section(settings, _Settings).check()
        return True

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Send all lines. Raises GiveUp: the receiver is gone for good (410)."""
        settings = read_section(context.settings, _Settings)
        async with open_poster(settings.allowed, timeout_s=_TIMEOUT_S) as poster:
            first = results.taken
            async for chunk in results.chunks(settings.lines, most_bytes=_MOST_BYTES):
                body = b"".join(one.raw for one in chunk)
                lines = f"{first}-{results.taken - 1}"
                key = f"{context.idempotency_key}.{lines}"
                headers = _headers(key, body, settings) | {
                    "Content-Type": "application/x-ndjson",
                    "batchline-batch": batch.id,
                    "batchline-lines": f"{lines}/{batch.total}",
                }
                await _send(poster, settings.url, body, headers)
                await context.checkpoint()
                first = results.taken


def _headers(key: str, body: bytes, settings: _Settings) -> dict[str, str]:
    secrets = [] if settings.secret is None else [settings.secret]
    headers = signed_headers(key, body, secrets, now=Clock().now())
    return {name: value for name, value in headers.items() if value}


async def _send(poster: Poster, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    answer = await poster.post(url, body, headers)
    if answer.status == HTTPStatus.GONE:
        raise GiveUp("the receiver answered 410: it wants nothing more")
    if not answer.is_taken:
        raise ConnectionError(answer.error)
