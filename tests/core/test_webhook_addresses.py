"""Where deliveries may go: each kind of address and of name, as tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import httpx
import pytest

from batchline.errors import Invalid
from batchline.webhooks.addresses import LONGEST_URL, accepted_url, origin_of, refusal_of

NETWORKS = [ip_network(text) for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "fd00::/8")]

PUBLIC = {
    "IPv4": "1.1.1.1",
    "below a private network": "172.15.255.255",
    "above a private network": "172.32.0.0",
    "beside link-local": "169.253.255.255",
    "above shared": "100.128.0.0",
    "the last public": "223.255.255.255",
    "IPv6": "2606:4700:4700::1111",
    "mapped": "::ffff:1.1.1.1",
    "6to4 of a public one": "2002:0101:0101::1",
    "NAT64 of a public one": "64:ff9b::101:101",
}
NOT_PUBLIC = {
    "any": "0.0.0.0",
    "this network": "0.1.2.3",
    "loopback": "127.0.0.1",
    "loopback, elsewhere": "127.255.255.254",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 172, last": "172.31.255.255",
    "private 192": "192.168.0.1",
    "shared": "100.64.0.1",
    "metadata of most": "169.254.169.254",
    "metadata of containers at AWS": "169.254.170.2",
    "metadata at Alibaba": "100.100.100.200",
    "metadata at Oracle": "192.0.0.192",
    "wire server at Azure": "168.63.129.16",
    "metadata at AWS over IPv6": "fd00:ec2::254",
    "metadata at Google over IPv6": "fd20:ce::254",
    "IETF": "192.0.0.1",
    "documentation": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "multicast, global": "233.252.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 any": "::",
    "IPv6 loopback": "::1",
    "IPv6 private": "fc00::1",
    "IPv6 private, assigned": "fd12:3456::1",
    "IPv6 link-local": "fe80::1",
    "IPv6 site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 multicast, global": "ff0e::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 discard": "100::1",
    "IPv6 reserved": "5f00::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped metadata": "::ffff:a9fe:a9fe",
    "compatible loopback": "::127.0.0.1",
    "compatible private": "::a00:1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of metadata": "2002:a9fe:a9fe::1",
    "NAT64 of private": "64:ff9b::a00:1",
    "NAT64 of loopback": "64:ff9b::127.0.0.1",
    "NAT64 of the site": "64:ff9b:1::808:808",
    "Teredo of loopback": "2001:0:101:101::80ff:fffe",
}


@pytest.mark.parametrize("text", PUBLIC.values(), ids=PUBLIC)
def test_public_addresses_are_delivered_to_over_https_alone(text):
    """No setting is asked."""
    address = ip_address(text)

    assert refusal_of(address, (), is_encrypted=True) is None
    assert "only HTTPS" in refusal_of(address, (), is_encrypted=False)
    assert "only HTTPS" in refusal_of(address, NETWORKS, is_encrypted=False)


@pytest.mark.parametrize("text", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_no_other_address_is_delivered_to(text, is_encrypted):
    """The refusal names the address as it was found, and the setting."""
    told = refusal_of(ip_address(text), (), is_encrypted=is_encrypted)

    assert told == (
        f"{ip_address(text)} is not a public address, and BATCHLINE_WEBHOOK_NETWORKS does not name "
        "its network."
    )


NAMED = {
    "loopback": ("127.0.0.1", True),
    "IPv6 loopback": ("::1", True),
    "private": ("10.255.255.255", True),
    "IPv6 private": ("fd00::7", True),
    "mapped": ("::ffff:10.0.0.1", True),
    "6to4": ("2002:0a00:0001::", True),
    "another private": ("192.168.0.1", False),
    "metadata": ("169.254.169.254", False),
    "mapped metadata": ("::ffff:169.254.169.254", False),
    "another IPv6 private": ("fc00::7", False),
}


@pytest.mark.parametrize(("text", "is_named"), NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_networks_that_the_operator_named_are_delivered_to(text, is_named, is_encrypted):
    """Over HTTP too; no other one is."""
    refusal = refusal_of(ip_address(text), NETWORKS, is_encrypted=is_encrypted)

    assert (refusal is None) is is_named


FINE = {
    "a name": "https://hooks.example.org/a/b?c=d&e=%2F",
    "a port": "https://hooks.example.org:8443",
    "capitals": "HTTPS://Hooks.Example.ORG/Take",
    "a last dot": "https://example.org./",
    "punycode": "https://xn--bcher-kva.example/",
    "an address": "https://1.1.1.1/",
    "an IPv6 address": "https://[2606:4700::1111]:8443/",
    "as long as may be": "https://example.org/".ljust(LONGEST_URL, "a"),
}


@pytest.mark.parametrize("url", FINE.values(), ids=FINE)
def test_a_url_is_kept_as_it_is(url):
    """What is posted to is what was given: httpx finds the same host in it."""
    kept = accepted_url(url, param="url", networks=())

    scheme, _, host = origin_of(kept).partition("://")
    assert kept == url
    assert httpx.URL(kept).scheme == scheme
    assert httpx.URL(kept).raw_host.decode() == host.rpartition(":")[0].strip("[]")


LOCAL = {
    "localhost": "localhost",
    "below localhost": "a.localhost",
    "with a last dot": "localhost.",
    "one label": "redis",
    "one label and a dot": "redis.",
    "metadata": "metadata.google.internal",
    "in capitals": "VAULT.INTERNAL",
    "mDNS": "printer.local",
    "at home": "nas.home.arpa",
    "intranet": "wiki.intranet",
    "a router's": "nas.lan",
    "Red Hat's": "localhost.localdomain",
}


@pytest.mark.parametrize("host", LOCAL.values(), ids=LOCAL)
def test_names_of_private_networks_need_the_setting(host):
    """With it, what they lead to decides, at each connection."""
    with pytest.raises(Invalid, match="private networks, which BATCHLINE_WEBHOOK_NETWORKS"):
        accepted_url(f"https://{host}/x", param="url", networks=())

    for scheme in ("http", "https"):
        url = f"{scheme}://{host}:8080/x"
        assert accepted_url(url, param="url", networks=NETWORKS) == url


REFUSED = {
    "http": ("http://example.org/", "only HTTPS is delivered to"),
    "a private address": ("https://10.0.0.1/", "10.0.0.1 is not a public address"),
    "an address with a dot": ("https://127.0.0.1./", "not a public address"),
    "a mapped address": ("https://[::ffff:127.0.0.1]/", "not a public address"),
    "decimal": ("https://2130706433/", "usual form"),
    "octal": ("https://0177.0.0.1/", "usual form"),
    "hexadecimal": ("https://0x7f000001/", "usual form"),
    "a hexadecimal byte": ("https://127.0.0.0x1/", "usual form"),
    "short": ("https://127.1/", "usual form"),
    "short with a dot": ("https://127.1./", "usual form"),
    "another scheme": ("ftp://example.org/", "write an HTTPS URL"),
    "no scheme": ("example.org/hook", "write an HTTPS URL"),
    "no slashes": ("https:example.org", "write an HTTPS URL"),
    "no host": ("https:///hook", "write an HTTPS URL"),
    "port 0": ("https://example.org:0/", "write an HTTPS URL"),
    "a port too high": ("https://example.org:65536/", "not a URL"),
    "a port that is none": ("https://example.org:x/", "not a URL"),
    "an open bracket": ("https://[::1/", "not a URL"),
    "a user": ("https://example.org@127.0.0.1/", "user and password"),
    "a password": ("https://a:b@example.org/", "user and password"),
    "a fragment": ("https://example.org/#x", "fragment"),
    "a backslash": ("https://example.org\\@127.0.0.1/", "printable ASCII"),
    "a space": (" https://example.org/", "printable ASCII"),
    "a line break": ("https://example.org/\r\nHost: a", "printable ASCII"),
    "letters of another script": ("https://bücher.example/", "printable ASCII"),
    "digits of another script": ("https://①②⑦.⓪.⓪.①/", "printable ASCII"),
    "too long": ("https://example.org/".ljust(LONGEST_URL + 1, "a"), "2049 characters"),
    "empty": ("", "write an HTTPS URL"),
}


@pytest.mark.parametrize(("url", "why"), REFUSED.values(), ids=REFUSED)
def test_what_can_never_be_delivered_to_is_refused(url, why):
    """With the parameter and the remedy."""
    with pytest.raises(Invalid) as refused:
        accepted_url(url, param="callback_url", networks=())

    assert str(refused.value).startswith("Invalid 'callback_url': ")
    assert why in str(refused.value)
    assert (refused.value.param, refused.value.code) == ("callback_url", "invalid_value")


ORIGINS = {
    "https://One.Example/a?b#c": "https://one.example:443",
    "https://one.example:8443": "https://one.example:8443",
    "http://one.example:/": "http://one.example:80",
    "https://[2606:4700::1111]/": "https://[2606:4700::1111]:443",
}


@pytest.mark.parametrize(("url", "origin"), ORIGINS.items())
def test_an_origin_is_scheme_host_and_port(url, origin):
    """The same receiver, however its URL is written."""
    assert origin_of(url) == origin
