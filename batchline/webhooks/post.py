"""One delivery over HTTP, to the very address that was judged (`batchline.outbound.connection`).

Redirects are not followed, and no proxy is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import httpcore
import httpx

from batchline import __version__
from batchline.errors import Invalid
from batchline.outbound.addresses import Network
from batchline.outbound.connection import (
    FAILURES,
    LookUp,
    Names,
    Refused,
    judged_pool,
    look_up,
    secure_context,
)

from .addresses import accepted_url, refusal_of

TIMEOUT_S = 10.0
_READ_BYTES = 4096  # of an answer, so that its connection can be used again
_READ_S = 1.0
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: the status of an answer, or in words why there was none."""

    status: int | None
    error: str | None = None
    retry_after: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the receiver took the event: any 2xx, and nothing else."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


class Poster:
    """The connections to receivers: one pool for each scheme, since HTTP may go to fewer addresses."""

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        look_up: LookUp = look_up,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._networks = networks
        self._timeout_s = timeout_s
        self._names = Names(look_up, at_once=_MOST_AT_ONCE)
        context = secure_context()
        self._pools = {
            scheme: judged_pool(
                partial(refusal_of, networks=networks, is_encrypted=scheme == "https"),
                self._names,
                # an address that swallows everything leaves time for the next
                connect_s=timeout_s / 3,
                at_once=_MOST_AT_ONCE,
                context=context,
            )
            for scheme in ("http", "https")
        }

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request; whatever goes wrong is an answer without a status."""
        try:
            accepted_url(url, param="url", networks=self._networks)  # the setting may have changed
            target = httpx.URL(url)
        except (Invalid, httpx.InvalidURL) as exc:
            return Answer(None, str(exc))
        fields = {
            "Host": target.netloc.decode(),
            "User-Agent": f"batchline/{__version__}",
            "Content-Length": str(len(body)),
            **headers,
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(target, body, fields)
        except TimeoutError:
            return Answer(None, f"No answer within {self._timeout_s:g} s.")
        except Refused as exc:
            return Answer(None, str(exc))
        except FAILURES as exc:
            return Answer(None, ": ".join(filter(None, (type(exc).__name__, str(exc))))[:200])

    async def _send(self, target: httpx.URL, body: bytes, fields: Mapping[str, str]) -> Answer:
        pool = self._pools[target.scheme]
        url = httpcore.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
        )
        async with pool.stream("POST", url, headers=list(fields.items()), content=body) as answer:
            headers = {name.lower(): value for name, value in answer.headers}
            retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
            await _read_some(answer)
            error = None if 200 <= answer.status < 300 else f"It answered {answer.status}."  # noqa: PLR2004
            return Answer(answer.status, error, retry_after)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()
        self._names.close()


@asynccontextmanager
async def open_poster(
    networks: Sequence[Network], *, look_up: LookUp = look_up, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Poster]:
    """Open a poster for as long as the body runs."""
    poster = Poster(networks, look_up=look_up, timeout_s=timeout_s)
    try:
        yield poster
    finally:
        await poster.close()


async def _read_some(answer: httpcore.Response) -> None:
    """Read a short body; its status has told all, so a body that is slow or cut changes nothing."""
    read = 0
    with suppress(TimeoutError, *FAILURES):
        async with asyncio.timeout(_READ_S):
            async for chunk in answer.aiter_stream():
                read += len(chunk)
                if read >= _READ_BYTES:
                    return
