"""Which URLs are registered: tricks by which a client would make this host ask itself, or its neighbours."""

from __future__ import annotations

import pytest

TRICKS = {
    "loopback": "https://127.0.0.1/",
    "loopback elsewhere": "https://127.8.8.8/",
    "any address": "https://0.0.0.0/",
    "decimal": "https://2130706433/",
    "octal": "https://0177.0.0.1/",
    "hexadecimal": "https://0x7f000001/",
    "hexadecimal byte": "https://0x7f.0.0.1/",
    "too few numbers": "https://127.1/",
    "leading zeros": "https://127.000.000.001/",
    "percent-encoded": "https://%31%32%37.0.0.1/",
    "percent-encoded name": "https://%6cocalhost.example.org/",
    "private 10": "https://10.0.0.1/",
    "private 172": "https://172.16.0.1/",
    "private 192": "https://192.168.1.1/",
    "shared": "https://100.64.0.1/",
    "benchmarks": "https://198.18.0.1/",
    "documentation": "https://192.0.2.1/",
    "multicast": "https://224.0.0.1/",
    "broadcast": "https://255.255.255.255/",
    "reserved": "https://240.0.0.1/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata over IPv6": "https://[fd00:ec2::254]/",
    "metadata by name": "https://metadata.google.internal/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 any": "https://[::]/",
    "IPv6 unique local": "https://[fc00::1]/",
    "IPv6 site local": "https://[fec0::1]/",
    "IPv6 link local": "https://[fe80::1]/",
    "IPv6 zone": "https://[fe80::1%25lo]/",
    "IPv6 public with a zone": "https://[2606:4700::1111%25lo]/",
    "IPv6 multicast": "https://[ff02::1]/",
    "IPv6 documentation": "https://[2001:db8::1]/",
    "IPv4-mapped": "https://[::ffff:127.0.0.1]/",
    "IPv4-mapped in hexadecimal": "https://[::ffff:7f00:1]/",
    "IPv4-compatible": "https://[::127.0.0.1]/",
    "NAT64": "https://[64:ff9b::10.0.0.1]/",
    "NAT64, local": "https://[64:ff9b:1::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "Teredo": "https://[2001:0:101:101::80ff:fffe]/",
    "IP of the future": "https://[v1.x]/",
    "behind the bracket": "https://[2606:4700::1111]x/",
    "localhost": "https://localhost/",
    "below localhost": "https://a.localhost/",
    "internal": "https://vault.internal/",
    "internal in capitals": "https://VAULT.INTERNAL/",
    "internal with a dot": "https://vault.internal./",
    "mDNS": "https://printer.local/",
    "home": "https://nas.home.arpa/",
    "one label": "https://intranet/",
    "one label with a dot": "https://redis./",
    "no label": "https://./",
    "empty label": "https://a..example.org/",
    "user": "https://example.org@127.0.0.1/",
    "user and password": "https://a:b@example.org/",
    "empty user": "https://@example.org/",
    "backslash": "https://example.org\\@127.0.0.1/",
    "space": "https://example.org /",
    "leading space": " https://example.org/",
    "line break": "https://example.org/\r\nHost: 127.0.0.1",
    "tab in the scheme": "ht\ttps://127.0.0.1/",
    "NUL": "https://example.org\x00.internal/",
    "IDN": "https://bücher.example/",
    "other digits": "https://①②⑦.⓪.⓪.①/",
    "full-width dots": "https://127。0。0。1/",
    "fragment": "https://example.org/#@127.0.0.1",
    "port 0": "https://example.org:0/",
    "port too high": "https://example.org:65536/",
    "port no number": "https://example.org:a/",
    "two ports": "https://example.org:80:443/",
    "list of hosts": "https://example.org,127.0.0.1/",
    "star": "https://*.example.org/",
    "HTTP": "http://example.org/",
    "no scheme": "//example.org/",
    "no slashes": "https:example.org",
    "no host": "https:///hook",
    "port alone": "https://:443/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://example.org/",
    "script": "javascript:alert(1)",
    "word": "hook",
    "empty": "",
    "very long": "https://example.org/" + "a" * 2048,
    "unclosed bracket": "https://[::1",
}
FINE = {
    "name": "https://hooks.example.org/a/b?c=d&e=%2F",
    "port": "https://example.org:8443/",
    "empty port": "https://example.org:/",
    "capitals": "HTTPS://Hooks.Example.ORG/Take",
    "trailing dot": "https://example.org./",
    "underscore": "https://my_hook.example.org/",
    "punycode": "https://xn--bcher-kva.example/",
    "IPv4": "https://1.1.1.1/",
    "IPv6": "https://[2606:4700::1111]:8443/",
    "mapped public": "https://[::ffff:1.1.1.1]/",
    "address in the query": "https://example.org/?next=https://u@127.0.0.1/",
    "no path": "https://example.org",
    "longest": "https://example.org/" + "a" * 2028,
}
BODY = {"name": "n", "event_types": ["batch.failed"]}


@pytest.mark.spec("9-endpoint-addresses")
@pytest.mark.parametrize("url", TRICKS.values(), ids=TRICKS)
async def test_no_trick_is_registered(gateway, url):
    """A 400 that names the parameter; nothing is made."""
    answer = await gateway.call("POST", "/v1/webhook_endpoints", json=BODY | {"url": url})

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (400, "url", "invalid_value")
    assert error["message"].startswith("Invalid 'url': ")
    assert await gateway.store.count_endpoints() == 0


@pytest.mark.spec("9-endpoint-addresses")
@pytest.mark.parametrize("url", FINE.values(), ids=FINE)
async def test_public_addresses_over_https_are_registered_as_given(gateway, url):
    """Whether a name leads to a public one is looked up at each delivery."""
    answer = await gateway.call("POST", "/v1/webhook_endpoints", json=BODY | {"url": url})

    assert (answer.status, answer.json["url"]) == (200, url)


NETWORKS = "10.0.0.0/8,fd00::/8"


@pytest.mark.spec("9-endpoint-addresses")
@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://10.1.2.3:8080/", 200),
        ("https://[fd00::7]/", 200),
        ("http://[::ffff:10.1.2.3]/", 200),
        ("http://hooks.internal/", 200),
        ("http://192.168.0.1/", 400),
        ("http://127.0.0.1/", 400),
        ("http://1.1.1.1/", 400),
        ("https://1.1.1.1/", 200),
        ("http://a@10.1.2.3/", 400),
    ],
)
async def test_networks_that_the_operator_names_are_allowed(starts, url, status):
    """Also over HTTP, and no others."""
    gateway = await starts(webhook_networks=NETWORKS)

    answer = await gateway.call("POST", "/v1/webhook_endpoints", json=BODY | {"url": url})

    assert answer.status == status
