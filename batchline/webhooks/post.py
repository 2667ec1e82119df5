"""One delivery over HTTP, to the very address that was judged.

A name is looked up once for each connection, each address is judged, and the connection goes to one of those:
no second lookup can lead elsewhere (DNS rebinding). Redirects are not followed, and no proxy is used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address

import httpcore
import httpx

from batchline import __version__
from batchline.errors import Invalid

from .addresses import Address, Network, accepted_url, refusal_of

LookUp = Callable[[str, int], Sequence[str]]
"""A host and a port -> the addresses of the name. It may take long. Raises OSError, UnicodeError."""

TIMEOUT_S = 10.0
_READ_BYTES = 4096  # of an answer, so that its connection can be used again
_READ_S = 1.0
_MOST_AT_ONCE = 64
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


def look_up(host: str, port: int) -> list[str]:
    """Ask the resolver of this host."""
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


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

    def __init__(
        self,
        networks: Sequence[Network],
        find: Callable[[str, int], Awaitable[Sequence[str]]],
        *,
        is_encrypted: bool,
        connect_s: float,
    ) -> None:
        self._networks = networks
        self._find = find
        self._connect_s = connect_s
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
                    str(address), port, timeout or self._connect_s, local_address, socket_options
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
        try:
            found = await self._find(host, port)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from exc
        addresses = [ip_address(one.partition("%")[0]) for one in found]
        refusals = [
            refusal_of(a, self._networks, is_encrypted=self._is_encrypted) for a in addresses
        ]
        if told := [why for why in refusals if why is not None]:
            raise Refused(told[0])  # one good address beside a bad one is a trick
        return addresses


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
        self._look_up = look_up
        self._timeout_s = timeout_s
        # The loop looks up two names at a time: two that hang would hold up all others.
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="look-up")
        context = httpx.create_ssl_context()
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                network_backend=_Judged(
                    networks,
                    self._find,
                    is_encrypted=scheme == "https",
                    # an address that swallows everything leaves time for the next
                    connect_s=timeout_s / 3,
                ),
                ssl_context=context,
                max_connections=_MOST_AT_ONCE,
                max_keepalive_connections=_MOST_AT_ONCE // 4,
                keepalive_expiry=5.0,
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
        except _FAILURES as exc:
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

    async def _find(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._look_up, host, port)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)


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
    with suppress(TimeoutError, *_FAILURES):
        async with asyncio.timeout(_READ_S):
            async for chunk in answer.aiter_stream():
                read += len(chunk)
                if read >= _READ_BYTES:
                    return
