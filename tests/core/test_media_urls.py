"""Where media may be fetched from: each kind of URL and of address, as tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from batchline.outbound.media_urls import LONGEST_URL, MediaRules, data_head, is_data_url

RULES = MediaRules(("media.example.org", "*.cdn.example.org", "192.0.2.7"))
ALLOWED = {
    "over HTTPS": "https://media.example.org/a.wav",
    "over HTTP, with a port and a query": "http://media.example.org:8080/a?sig=b%20c",
    "in capitals": "HTTPS://MEDIA.Example.org/a",
    "with the root's dot": "https://media.example.org./a",
    "below a domain": "https://eu.west.cdn.example.org/a",
    "an address": "http://192.0.2.7/a",
    "data": "data:audio/wav;base64,AAAA",
    "data without a type": "data:;base64,AAAA",
    "data in capitals, with parameters": "DATA:audio/ogg;codecs=opus;BASE64,AAAA",
}
REFUSED = {
    "another host": ("https://example.org/a", "media are not fetched from 'example.org'"),
    "a host that ends so": ("https://evilmedia.example.org/a", "not fetched from"),
    "the domain itself": ("https://cdn.example.org/a", "not fetched from"),
    "a domain that ends so": ("https://evilcdn.example.org/a", "not fetched from"),
    "a host behind a user": ("https://media.example.org@evil.example/a", "user and password"),
    "a user": ("https://a:b@media.example.org/a", "user and password"),
    "another address": ("http://192.0.2.8/a", "not fetched from '192.0.2.8'"),
    "an address in disguise": ("http://3221225991/a", "not fetched from"),
    "no host": ("https:///a", "write an http or https URL"),
    "a file": ("file:///etc/passwd", "write an http or https URL"),
    "another scheme": ("ftp://media.example.org/a", "write an http or https URL"),
    "no URL": ("a.wav", "write an http or https URL"),
    "nothing": ("", "write an http or https URL"),
    "port 0": ("https://media.example.org:0/a", "write an http or https URL"),
    "a port that is none": ("https://media.example.org:99999/a", "this is not a URL"),
    "half an address": ("https://[::1/a", "this is not a URL"),
    "a line break": ("https://media.example.org/a\nb", "printable ASCII"),
    "a backslash": ("https://evil.example\\@media.example.org/a", "printable ASCII"),
    "an umlaut": ("https://media.example.org/ä", "printable ASCII"),
    "an odd host": ("https://media.example.org%2f.evil.example/a", "write a host name"),
    "too long": ("https://media.example.org/" + "a" * LONGEST_URL, "at most 2048"),
    "data that is text": ("data:audio/wav,AAAA", "must be base64"),
    "data without a comma": ("data:audio/wav;base64", "must be base64"),
    "data with an endless head": (f"data:{'a' * 999};base64,AAAA", "must be base64"),
}


@pytest.mark.parametrize("url", ALLOWED.values(), ids=ALLOWED)
def test_what_may_be_fetched(url):
    """Hosts by name, all below a domain, addresses that are named, and data."""
    assert RULES.flaw_of(url) is None


@pytest.mark.parametrize(("url", "why"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_be_fetched_and_why(url, why):
    """Also what looks like an allowed host to some readers."""
    assert why in RULES.flaw_of(url)


def test_without_hosts_data_alone_are_taken_and_the_setting_is_named():
    """So the operator finds what to set."""
    rules = MediaRules()

    assert rules.flaw_of("data:audio/wav;base64,AAAA") is None
    assert rules.flaw_of("https://media.example.org/a") == (
        "media are not fetched from 'media.example.org'. Allowed hosts (BATCHLINE_MEDIA_HOSTS): none, so that "
        "only data URLs are taken. Send a data URL, or ask the operator to allow the host."
    )


def test_a_star_allows_every_host():
    """Their addresses are judged all the same."""
    rules = MediaRules(("*",))

    assert rules.flaw_of("https://anywhere.example/a") is None
    assert "not public" in rules.refusal_of(ip_address("169.254.169.254"))


def test_addresses_are_public_or_in_a_network_that_is_named():
    """An allowed name that leads into the network of the site is refused."""
    rules = MediaRules(("*",), [ip_network("10.1.0.0/16")])

    told = {text: rules.refusal_of(ip_address(text)) for text in ("1.1.1.1", "10.1.2.3")}
    refused = rules.refusal_of(ip_address("10.2.0.1"))

    assert told == {"1.1.1.1": None, "10.1.2.3": None}
    assert "10.2.0.1" in refused
    assert "BATCHLINE_MEDIA_NETWORKS" in refused


def test_heads_of_data_urls():
    """What stands before the comma."""
    assert is_data_url("Data:,")
    assert data_head("data:audio/wav;base64,AA,AA") == "data:audio/wav;base64"
