"""The decision whether a request may come in, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from batchline.serving.origins import Access, Head, Known, host_of, is_address, judge, known
from batchline.settings import Settings

KNOWN = known(
    hosts=("gpu-box", "batch.example.org", "gateway"),
    origins=("https://app.example.org", "chrome-extension://abcdef"),
)
HERE = "localhost:5000"
GRANTED, PREFLIGHT = Access.GRANTED, Access.PREFLIGHT
WRONG_VERSION, UNKNOWN_HOST = Access.WRONG_VERSION, Access.UNKNOWN_HOST
FOREIGN_ORIGIN = Access.FOREIGN_ORIGIN

OURS = [
    *("localhost", "LocalHost", "localhost.", "localhost:5000", "localhost:"),
    *("127.0.0.1", "127.0.0.1:5000", "127.9.9.9", "192.168.1.7:5000", "10.0.0.1"),
    *("[::1]", "[::1]:5000", "::1", "[fe80::1]", "[2001:DB8::1]:80", "[fe80::1%eth0]:1"),
    *("gpu-box:5000", "GPU-Box", "gateway:5000", "batch.example.org", "Batch.Example.org.:443"),
]
NOT_OURS = [
    *(
        "",
        ".",
        ":",
        ":5000",
        "evil.test",
        "evil.test:5000",
        "localhost.evil.test",
        "evil.localhost",
    ),
    *("localhost:5000:1", "localhost:port", "localhost:٥", "user@localhost", "localhost/x"),
    *("localhost evil.test", "localhost,evil.test", "127.0.0.1.evil.test", "127.0.0.1.nip.io"),
    *("[evil.test]", "[::1", "::1]", "[127.0.0.1]", "[]", "[::1]evil.test", "[::1].evil.test"),
    *("0x7f.1", "2130706433", "127.1", "0177.0.0.1", "1.2.3", "batch.example.org..", "*"),
    *("x" * 8000, "a." * 4000, "1" * 8000, ":" * 8000, "[" * 8000, "localhost\x00", "löcalhost"),
]


@pytest.mark.parametrize("host", OURS)
def test_names_and_addresses_of_ours_are_known(host):
    """Whatever the case, the port or a last dot."""
    assert judge(Head("GET", hosts=(host,)), KNOWN) is GRANTED


@pytest.mark.parametrize("host", NOT_OURS, ids=lambda host: ascii(host[:25]))
def test_any_other_host_is_unknown(host):
    """A page may have its own name point here, never an address; what no browser sends is refused too."""
    assert judge(Head("GET", hosts=(host,)), KNOWN) is UNKNOWN_HOST
    assert judge(Head("POST", hosts=(host,)), KNOWN) is UNKNOWN_HOST


def test_every_host_of_a_request_must_be_ours():
    """The header and a target that is a whole URL may name two."""
    assert judge(Head("GET", hosts=(HERE, "evil.test")), KNOWN) is UNKNOWN_HOST
    assert judge(Head("GET", hosts=("evil.test", HERE)), KNOWN) is UNKNOWN_HOST


def test_a_request_without_a_host_is_let_in():
    """HTTP/1.0 needs none, and every browser sends one."""
    assert judge(Head("GET", version=(1, 0)), KNOWN) is GRANTED


@pytest.mark.parametrize("host", [host for host in NOT_OURS if host])
def test_a_star_takes_every_name(host):
    """For a name that nobody can tell before."""
    every = known(hosts=("127.0.0.1", "*"), origins=())

    assert every.takes_every_host
    assert judge(Head("GET", hosts=(host,)), every) is GRANTED
    assert not KNOWN.takes_every_host


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 0), (9, 9)])
def test_only_http_1_is_spoken(version):
    """Before the host is looked at: HTTP/0.9 has none."""
    assert judge(Head("GET", version=version, hosts=(HERE,)), KNOWN) is WRONG_VERSION
    assert judge(Head("GET", version=version), KNOWN) is WRONG_VERSION


def post(*origins, site=None, method="POST", hosts=(HERE,), asks_for=None):
    sites = () if site is None else (site,)
    return Head(method, hosts=hosts, origins=origins, sites=sites, asks_for=asks_for)


CHANGES = {
    "a program": (post(), GRANTED),
    "our page": (post("http://localhost:5000", site="same-origin"), GRANTED),
    "our page in an old browser": (post("http://localhost:5000"), GRANTED),
    "our page behind TLS": (
        post("https://batch.example.org", site="same-origin", hosts=("batch.example.org",)),
        GRANTED,
    ),
    "our page by address": (post("http://[::1]:5000", hosts=("[::1]:5000",)), GRANTED),
    "typed by the user": (post(site="none"), GRANTED),
    "a named page": (post("https://app.example.org", site="cross-site"), GRANTED),
    "a named extension": (post("chrome-extension://abcdef", site="none"), GRANTED),
    "another site": (post("https://evil.test", site="cross-site"), FOREIGN_ORIGIN),
    "another site in an old browser": (post("https://evil.test"), FOREIGN_ORIGIN),
    "another site without an origin": (post(site="cross-site"), FOREIGN_ORIGIN),
    "another port": (post("http://localhost:3000", site="same-site"), FOREIGN_ORIGIN),
    "another port in an old browser": (post("http://localhost:3000"), FOREIGN_ORIGIN),
    "another port, no origin": (post(site="same-site"), FOREIGN_ORIGIN),
    "a sandboxed frame": (post("null", site="cross-site"), FOREIGN_ORIGIN),
    "a sandboxed frame in an old browser": (post("null"), FOREIGN_ORIGIN),
    "a file": (post("file://"), FOREIGN_ORIGIN),
    "nothing": (post(""), FOREIGN_ORIGIN),
    "a longer name": (post("http://localhost:5000.evil.test"), FOREIGN_ORIGIN),
    "a user of that name": (post("http://localhost:5000@evil.test"), FOREIGN_ORIGIN),
    "another scheme": (post("ftp://localhost:5000"), FOREIGN_ORIGIN),
    "a path": (post("http://localhost:5000/"), FOREIGN_ORIGIN),
    "an unnamed extension": (post("chrome-extension://zzz"), FOREIGN_ORIGIN),
    "a named page over HTTP": (post("http://app.example.org"), FOREIGN_ORIGIN),
    "two origins": (post("http://localhost:5000", "https://evil.test"), FOREIGN_ORIGIN),
    "a named and another": (
        post("https://app.example.org", "https://evil.test", site="cross-site"),
        FOREIGN_ORIGIN,
    ),
    "two sites": (
        replace(post("http://localhost:5000"), sites=("same-origin", "cross-site")),
        FOREIGN_ORIGIN,
    ),
    "a rewritten host": (post("https://batch.example.org", site="same-origin"), FOREIGN_ORIGIN),
}


@pytest.mark.parametrize(("head", "access"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_for_programs_our_page_and_named_ones(head, access):
    """Whatever the body's type says, since the head alone decides."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "CONNECT", "MADEUP"):
        assert judge(replace(head, method=method), KNOWN) is access, method


@pytest.mark.parametrize("head", [head for head, _ in CHANGES.values()], ids=CHANGES)
def test_what_only_reads_is_left_to_the_browser(head):
    """Without CORS no other page gets to see the answer; a link from one works."""
    for method in ("GET", "HEAD", "OPTIONS"):
        assert judge(replace(head, method=method), KNOWN) is GRANTED, method


PREFLIGHTS = {
    "a named page": (post("https://app.example.org", asks_for="POST"), PREFLIGHT),
    "another site": (post("https://evil.test", asks_for="POST"), GRANTED),
    "our page": (post("http://localhost:5000", asks_for="POST"), GRANTED),
    "nothing asked": (post("https://app.example.org"), GRANTED),
    "an unknown host": (
        post("https://app.example.org", hosts=("evil.test",), asks_for="POST"),
        UNKNOWN_HOST,
    ),
}


@pytest.mark.parametrize(("head", "access"), PREFLIGHTS.values(), ids=PREFLIGHTS)
def test_only_named_pages_are_answered_before_they_ask(head, access):
    """Everybody else meets the routes, which know no OPTIONS."""
    assert judge(replace(head, method="OPTIONS"), KNOWN) is access


def test_nothing_is_named_by_default():
    """The page at localhost is ours, and that is all."""
    assert judge(post("https://app.example.org"), Known()) is FOREIGN_ORIGIN
    assert judge(post("http://localhost:5000"), Known()) is GRANTED


def test_an_address_is_one_in_its_usual_form():
    """What else a program may read as an address could be a name to another."""
    assert is_address("::ffff:127.0.0.1")
    assert not is_address("127.0.0.1:80")
    assert host_of("::1") == "::1"


def test_the_settings_name_hosts_and_origins():
    """Several, with commas, however written."""
    told = Settings(
        _env_file=None,
        host="GPU-Box",
        allowed_hosts="Batch.Example.org:443, 10.0.0.7,",
        allowed_origins="https://App.example.org/,http://localhost:3000",
    )

    assert told.known.hosts == {
        "localhost",
        "127.0.0.1",
        "gpu-box",
        "batch.example.org",
        "10.0.0.7",
    }
    assert told.known.origins == {"https://app.example.org", "http://localhost:3000"}


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example/x", "a b", "*.a.example", "ä.example", "@"]
)
def test_what_is_no_host_stops_the_start(host):
    """With an example of what is."""
    with pytest.raises(ValidationError, match=r"such as batch\.example\.org"):
        Settings(_env_file=None, allowed_hosts=host)


@pytest.mark.parametrize(
    "origin", ["a.example", "*", "null", "https://a.example/x", "https://", "https://a b"]
)
def test_what_is_no_origin_stops_the_start(origin):
    """With an example of what is; `*` would let every page in."""
    with pytest.raises(ValidationError, match="such as https://app"):
        Settings(_env_file=None, allowed_origins=origin)
