"""Connections to the very addresses that were judged.

A name is looked up once for each connection, each address is judged, and the connection goes to one of those:
no second lookup can lead elsewhere (DNS rebinding). No proxy is used. Redirects are the caller's matter.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import httpcore
import httpx

from .addresses import Address

LookUp = Callable[[str, int], Sequence[str]]
"""A host and a port -> the addresses of the name. It may take long. Raises OSError, UnicodeError."""
Judge = Callable[[Address], str | None]
"""An address -> why nothing may be sent there, or None."""

FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)
"""What a request raises whose connection fails."""
_IDLE_S = 5.0


def look_up(host: str, port: int) -> list[str]:
    """Ask the resolver of this host."""
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Refused(Exception):
    """No address of this host may be connected to."""


class Names:
    """Looks names up in threads of its own: the loop's few would be held up by names that hang."""

    def __init__(self, look_up: LookUp, *, at_once: int) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="look-up")

    async def find(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name. Raises OSError, UnicodeError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._look_up, host, port)

    def close(self) -> None:
        """Wait for no name that is still looked up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Judged(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, by name or not."""

    def __init__(
        self,
        judge: Judge,
        find: Callable[[str, int], Awaitable[Sequence[str]]],
        *,
        connect_s: float,
    ) -> None:
        self._judge = judge
        self._find = find
        self._connect_s = connect_s
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
        refusals = map(self._judge, addresses)
        if told := [why for why in refusals if why is not None]:
            raise Refused(told[0])  # one good address beside a bad one is a trick
        return addresses


def secure_context() -> ssl.SSLContext:
    """Return what servers are verified with; made once for all pools, since that takes a while."""
    return httpx.create_ssl_context()


def judged_pool(
    judge: Judge,
    names: Names,
    *,
    connect_s: float,
    at_once: int,
    context: ssl.SSLContext,
) -> httpcore.AsyncConnectionPool:
    """Make a pool of connections; `connect_s`: time for each address of a name."""
    return httpcore.AsyncConnectionPool(
        network_backend=_Judged(judge, names.find, connect_s=connect_s),
        ssl_context=context,
        max_connections=at_once,
        max_keepalive_connections=at_once // 4,
        keepalive_expiry=_IDLE_S,
    )
