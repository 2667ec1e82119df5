"""One delivery over HTTP, to the very address that was judged.

A name is resolved once for each connection, each address is judged, and the connection goes to one of those:
no second lookup can lead elsewhere (DNS rebinding). Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import httpcore
import httpx

from batchline import __version__

from .addresses import Address, Network, refusal_of

TIMEOUT_S = 10.0
_READ_BYTES = 4096  # of an answer, so that its connection can be used again
_MOST_AT_ONCE = 64


class Refused(Exception):
    """No address of this host may be delivered to."""


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


class _Judged(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, by name or not."""

    def __init__(self, networks: Sequence[Network], *, is_encrypted: bool) -> None:
        self._networks = networks
        self._is_encrypted = is_encrypted
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, judge, connect. Raises Refused, httpcore.ConnectError."""
        addresses = await self._allowed(host, port)
        error: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                error = exc
        raise error or httpcore.ConnectError(f"{host} has no address.")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL names one."""
        del timeout, socket_options
        raise Refused(f"{path} is no address on the network.")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts to connect."""
        await self._inner.sleep(seconds)

    async def _allowed(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from exc
        addresses = [ip_address(str(one[4][0]).partition("%")[0]) for one in found]
        refusals = [
            refusal_of(a, self._networks, is_encrypted=self._is_encrypted) for a in addresses
        ]
        if told := [why for why in refusals if why is not None]:
            raise Refused(told[0])  # one good address beside a bad one is a trick
        return addresses


class Poster:
    """The connections to receivers: one pool for each scheme, since HTTP may go to fewer addresses."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                network_backend=_Judged(networks, is_encrypted=scheme == "https"),
                ssl_context=httpx.create_ssl_context(),
                max_connections=_MOST_AT_ONCE,
                max_keepalive_connections=_MOST_AT_ONCE // 4,
                keepalive_expiry=5.0,
            )
            for scheme in ("http", "https")
        }

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request; whatever goes wrong is an answer without a status."""
        target = httpx.URL(url)
        fields = {
            "Host": target.netloc.decode(),
            "User-Agent": f"batchline/{__version__}",
            "Content-Length": str(len(body)),
            **headers,
        }
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._send(target, body, fields)
        except TimeoutError:
            return Answer(None, f"No answer within {TIMEOUT_S:g} s.")
        except Refused as exc:
            return Answer(None, str(exc))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as exc:
            return Answer(None, f"{type(exc).__name__}: {exc}"[:200])

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


@asynccontextmanager
async def open_poster(networks: Sequence[Network]) -> AsyncIterator[Poster]:
    """Open a poster for as long as the body runs."""
    poster = Poster(networks)
    try:
        yield poster
    finally:
        await poster.close()


async def _read_some(answer: httpcore.Response) -> None:
    read = 0
    async for chunk in answer.aiter_stream():
        read += len(chunk)
        if read >= _READ_BYTES:
            return
