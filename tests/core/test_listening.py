"""Addresses to listen on: which are taken, what is bound for them, and where they are asked."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from aiohttp import web

from batchline.serving.listening import hosts_behind, listening_host, shown_address, where_to_ask
from batchline.serving.sockets import start_sites

REFUSED = {
    "nothing": ("", "is empty; write an IP address such as 127.0.0.1, 0.0.0.0 or ::"),
    "blank": ("  ", "is empty"),
    "a URL": ("http://0.0.0.0", "is a URL, but only its host is wanted"),
    "a network": ("10.0.0.0/8", "only its host is wanted"),
    "brackets": ("[::1]", "has brackets; write ::1"),
    "a port": ("0.0.0.0:5000", "has a port, which is a setting of its own; write 0.0.0.0"),
    "a port behind brackets": ("[::]:5000", "has a port, which is a setting of its own; write ::"),
    "a port behind a name": ("localhost:5000", "write localhost"),
    "half an address": ("127.0.0", "is no address to listen on"),
    "too large a number": ("127.0.0.256", "is no address to listen on"),
    "a star": ("*", "is no address to listen on; write"),
    "a space": ("a b", "is no address to listen on"),
    "white space behind": ("127.0.0.1 ", "is no address to listen on"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_can_listen_on_is_refused(text, why):
    """With what to write."""
    with pytest.raises(ValueError, match=r"^(is|has) ") as caught:
        listening_host(text)

    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "gpu-1.lab.example"]
)
def test_addresses_and_names_are_kept_as_given(text):
    """Whether it is one of this host, the system knows."""
    assert listening_host(text) == text


def test_every_address_means_both_families_and_is_asked_on_loopback():
    """A client of IPv4 must not find a closed door, and neither must the health check."""
    assert hosts_behind("::") == ("0.0.0.0", "::")
    assert hosts_behind("::1") == ("::1",)
    assert [where_to_ask(h) for h in ("::", "0.0.0.0", "::1")] == ["127.0.0.1", "127.0.0.1", "::1"]
    assert shown_address("::1", 80) == "[::1]:80"
    assert shown_address("127.0.0.1", 80) == "127.0.0.1:80"


@pytest.mark.skipif(not socket.has_ipv6, reason="this host has no IPv6")
async def test_one_port_of_every_address_answers_in_both_families():
    """Also where the system chooses the port."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await start_sites(runner, "::", 0)
        (port,) = {address[1] for address in runner.addresses}
        async with aiohttp.ClientSession() as http:
            for host in ("127.0.0.1", "[::1]"):
                async with http.get(f"http://{host}:{port}/") as answer:
                    assert answer.status == 404
    finally:
        await runner.cleanup()
