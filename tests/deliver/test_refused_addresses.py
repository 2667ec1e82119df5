"""Where nothing is delivered: what only this host reaches, however it is written or looked up."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_network

import pytest
from aiohttp import web
from receivers import Receiver
from waiting import until

from batchline.webhooks.records import DeliveryState

PENDING, DELIVERED, _ = DeliveryState
NOT_PUBLIC = "is not a public address"
UNUSUAL = "write an IP address in its usual form"
PRIVATE_NAME = "is a name of private networks"


class Names:
    """A resolver that a test scripts: each name leads to a list of addresses, the last list for ever."""

    def __init__(self, **names):
        self.names = {name.replace("_", "."): lists for name, lists in names.items()}
        self.asked = []

    def __call__(self, host, port):
        self.asked.append(host)
        lists = self.names[host]
        return lists.pop(0) if len(lists) > 1 else lists[0]


@asynccontextmanager
async def trap():
    """Listen on loopback; yields the port and what connected."""
    caught = []

    async def catch(reader, writer):
        caught.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(catch, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], caught


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", NOT_PUBLIC),
        ("127.1", UNUSUAL),
        ("2130706433", UNUSUAL),
        ("0x7f000001", UNUSUAL),
        ("0177.0.0.1", UNUSUAL),
        ("0x7f.0.0.1", UNUSUAL),
        ("0", UNUSUAL),
        ("0.0.0.0", NOT_PUBLIC),
        ("10.1.2.3", NOT_PUBLIC),
        ("172.16.0.1", NOT_PUBLIC),
        ("192.168.0.1", NOT_PUBLIC),
        ("100.64.0.1", NOT_PUBLIC),
        ("169.254.169.254", NOT_PUBLIC),
        ("224.0.0.1", NOT_PUBLIC),
        ("255.255.255.255", NOT_PUBLIC),
        ("[::1]", NOT_PUBLIC),
        ("[::]", NOT_PUBLIC),
        ("[::ffff:127.0.0.1]", NOT_PUBLIC),
        ("[::ffff:7f00:1]", NOT_PUBLIC),
        ("[::127.0.0.1]", NOT_PUBLIC),
        ("[64:ff9b::7f00:1]", NOT_PUBLIC),
        ("[64:ff9b:1::a9fe:a9fe]", NOT_PUBLIC),
        ("[2002:7f00:1::]", NOT_PUBLIC),
        ("[fd00::1]", NOT_PUBLIC),
        ("[fe80::1]", NOT_PUBLIC),
        ("[fec0::1]", NOT_PUBLIC),
        ("[ff02::1]", NOT_PUBLIC),
        ("[fd00:ec2::254]", NOT_PUBLIC),
        ("localhost", PRIVATE_NAME),
        ("localhost.", PRIVATE_NAME),
        ("LOCALHOST", PRIVATE_NAME),
        ("a.localhost", PRIVATE_NAME),
        ("metadata.google.internal", PRIVATE_NAME),
        ("host.docker.internal", PRIVATE_NAME),
        ("printer.local", PRIVATE_NAME),
        ("redis", PRIVATE_NAME),
        ("user:secret@127.0.0.1", "user and password"),
        ("example.com@127.0.0.1", "user and password"),
    ],
)
async def test_what_only_this_host_reaches_is_never_connected_to(make_bench, host, why):
    """Also if its URL came past the API: nothing is even looked up, and the delivery says why."""
    names = Names()
    async with trap() as (port, caught):
        bench = await make_bench(networks=(), look_up=names)
        await bench.endpoint(f"https://{host}:{port}/hook")
        await bench.ended()

        await bench.round()

        delivery = await bench.delivery()
        assert (delivery.state, delivery.last_status) == (PENDING, None)
        assert why in delivery.last_error
        assert caught == []
    assert names.asked == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
        ["93.184.215.14", "127.0.0.1"],
        ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"],
    ],
    ids=" ".join,
)
async def test_a_name_that_leads_to_such_an_address_is_refused(make_bench, addresses):
    """One such address among good ones is enough: nobody knows which would be taken."""
    async with trap() as (port, caught):
        bench = await make_bench(networks=(), look_up=Names(hooks_test=[addresses]))
        await bench.endpoint(f"https://hooks.test:{port}/hook")
        await bench.ended()

        await bench.round()

        assert NOT_PUBLIC in (await bench.delivery()).last_error
        assert caught == []


async def test_a_public_name_is_delivered_to_over_https_alone(make_bench):
    """Whatever the API let in while a network was named."""
    bench = await make_bench(
        networks=(ip_network("10.0.0.0/8"),), look_up=Names(hooks_test=[["93.184.215.14"]])
    )
    await bench.endpoint("http://hooks.test/hook")
    await bench.ended()

    await bench.round()

    assert "only HTTPS is delivered to public addresses" in (await bench.delivery()).last_error


async def test_a_name_that_is_led_elsewhere_meanwhile_is_judged_again(make_bench):
    """The connection goes to the address that was judged, and each new one is judged anew."""
    async with Receiver(host="127.0.0.2") as good, Receiver(good.port) as inner:
        good.script = lambda _: web.Response(status=500, headers={"Connection": "close"})
        names = Names(hooks_test=[["127.0.0.2"], ["127.0.0.1"]])
        bench = await make_bench(networks=(ip_network("127.0.0.2/32"),), look_up=names)
        await bench.endpoint(f"http://hooks.test:{good.port}/hook")
        await bench.ended()

        await bench.round()
        first = await bench.delivery()
        asked_once = list(names.asked)
        await bench.spend(10)

        assert (first.last_status, len(good.told), asked_once) == (500, 1, ["hooks.test"])
        assert f"127.0.0.1 {NOT_PUBLIC}" in (await bench.delivery()).last_error
        assert (len(good.told), inner.told) == (1, [])


async def test_a_redirect_to_loopback_is_not_followed(make_bench):
    """It is a failure like any other."""
    async with Receiver(host="127.0.0.2") as receiver, trap() as (port, caught):
        location = {"Location": f"http://127.0.0.1:{port}/"}
        receiver.script = lambda _: web.Response(status=307, headers=location)
        bench = await make_bench(networks=(ip_network("127.0.0.2/32"),))
        await bench.endpoint(receiver.url)
        await bench.ended()

        await bench.round()

        assert (await bench.delivery()).last_error == "It answered 307."
        assert caught == []


async def test_a_name_that_leads_nowhere_is_a_failure(make_bench):
    """It may come back."""

    def nowhere(host, port):
        raise OSError

    bench = await make_bench(look_up=nowhere)
    await bench.endpoint("https://hooks.test/hook")
    await bench.ended()

    await bench.round()

    delivery = await bench.delivery()
    assert (delivery.state, delivery.last_error) == (
        PENDING,
        "ConnectError: hooks.test cannot be resolved",
    )


async def test_names_whose_servers_hang_hold_up_no_other(make_bench, receiver):
    """Each look-up has a thread of its own."""
    release = threading.Event()

    def look_up(host, port):
        if host.startswith("slow"):
            release.wait(60)
        return ["127.0.0.1"]

    bench = await make_bench(look_up=look_up)
    try:
        for n in range(6):
            await bench.endpoint(f"http://slow{n}.test:{receiver.port}/hook")
        await bench.endpoint(f"http://quick.test:{receiver.port}/hook")
        for _ in range(6):
            await bench.ended()

        async def is_told():
            await bench.deliverer.step()
            return len(receiver.taken) == 6

        await until(is_told)
    finally:
        release.set()


@contextmanager
def swallowing(host, port):
    """Listen without ever accepting, with no room for one more connection."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((host, port))
        full.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect((host, port))
            except TimeoutError:
                break
        yield


async def test_an_address_that_swallows_everything_leaves_time_for_the_next(make_bench, receiver):
    """As a host that has IPv6 addresses, but no way for them."""
    with swallowing("127.0.0.2", receiver.port):
        addresses = ["127.0.0.2", "127.0.0.1"]
        bench = await make_bench(look_up=lambda *_: addresses, timeout_s=1.5)
        await bench.endpoint(f"http://hooks.test:{receiver.port}/hook")
        await bench.ended()

        await bench.round()

    assert (await bench.delivery()).state is DELIVERED


@pytest.fixture
def certificate(tmp_path):
    """A certificate for hooks.test that signed itself; returns its files."""
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ),
            *("-nodes", "-days", "2", "-keyout", str(key), "-out", str(made)),
            *("-subj", "/CN=hooks.test", "-addext", "subjectAltName=DNS:hooks.test"),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@pytest.fixture
async def encrypted(certificate):
    """A receiver behind that certificate, and the names by which it was asked for."""
    named = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _, name, __: named.append(name)
    async with Receiver(context=context) as server:
        server.named = named
        yield server


async def told_over_tls(make_bench, encrypted, host):
    bench = await make_bench(look_up=lambda *_: ["127.0.0.1"])
    await bench.endpoint(f"https://{host}:{encrypted.port}/hook")
    await bench.ended()
    await bench.round()
    return await bench.delivery()


async def test_a_certificate_that_signed_itself_is_a_failure_in_words(make_bench, encrypted):
    """Nothing is told to whoever holds it."""
    delivery = await told_over_tls(make_bench, encrypted, "hooks.test")

    assert delivery.state is PENDING
    assert "certificate verify failed: self-signed certificate" in delivery.last_error
    assert encrypted.told == []


async def test_a_receiver_is_asked_for_by_the_name_in_the_url(
    make_bench, encrypted, certificate, monkeypatch
):
    """The connection goes to the address that was judged, the name to TLS and to HTTP."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    delivery = await told_over_tls(make_bench, encrypted, "hooks.test")

    assert (delivery.state, delivery.last_error) == (DELIVERED, None)
    assert encrypted.named == ["hooks.test"]
    assert encrypted.told[0].headers["Host"] == f"hooks.test:{encrypted.port}"


async def test_a_certificate_of_another_name_is_a_failure_in_words(
    make_bench, encrypted, certificate, monkeypatch
):
    """Also if its authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    delivery = await told_over_tls(make_bench, encrypted, "other.test")

    assert delivery.state is PENDING
    assert "certificate is not valid for 'other.test'" in delivery.last_error
    assert encrypted.told == []
