"""Binds the port of a process: a socket for each address family that its host stands for."""

from __future__ import annotations

from aiohttp import web

from .listening import NO_SUCH_FAMILY, hosts_behind


async def start_sites(runner: web.AppRunner, host: str, port: int) -> tuple[web.TCPSite, ...]:
    """Listen on `host` and `port`; 0 is one free port for all families. Raises OSError.

    On a host without IPv6 `::` is IPv4 alone.
    """
    sites: list[web.TCPSite] = []
    for one in hosts_behind(host):
        site = web.TCPSite(runner, one, port or (runner.addresses[0][1] if sites else 0))
        try:
            await site.start()
        except OSError as exc:
            if not sites or exc.errno not in NO_SUCH_FAMILY:
                raise
            continue
        sites.append(site)
    return tuple(sites)
