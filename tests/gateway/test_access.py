"""What a key closes, and what opens it: every route against everything that a request may carry."""

from __future__ import annotations

import base64
import re

import pytest

from gateway.auth.credentials import COOKIE, KEY_HEADERS, read
from gateway.auth.decision import Caller, Lock, Means, Refusal
from gateway.auth.entrances import Entrance
from gateway.auth.sessions import LASTS_S, Sessions
from gateway.auth.sign_in import local
from gateway.auth.wrong_keys import WrongKeys
from gateway.keys import Patience

KEY = "sk-of-this-server"
OPEN = {"/health", "/sign-in", "/static/{name}", "/favicon.svg"}
WATCHED = {"/ready", "/metrics"}
FORMS = {"/sign-out", "/replay"}
PAGES = {"/", "/docs", *FORMS}
READING = {"GET", "HEAD"}


def basic(password):
    pair = base64.b64encode(f"anybody:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


@pytest.fixture
def sessions(clock):
    return Sessions(KEY, clock=clock)


@pytest.fixture
async def locked(starts):
    return await starts(api_key=KEY, with_pages=True)


def ways(sessions):
    """Everything that a request may carry, by name."""
    session = sessions.open()
    cookie = {"Cookie": f"{COOKIE}={session.cookie}"}
    return {
        "nothing": {},
        "an empty key": {"Authorization": "Bearer "},
        "a wrong key": {"Authorization": "Bearer wrong"},
        "a wrong x-api-key": {"x-api-key": "wrong"},
        "the key as a scheme of its own": {"Authorization": KEY},
        "the key": {"Authorization": f"Bearer {KEY}"},
        "the key, the scheme in capitals": {"Authorization": f"BEARER {KEY}"},
        **{name: {name: KEY} for name in KEY_HEADERS},
        "a session": cookie,
        "a session and its token": cookie | {"x-csrf-token": session.token},
        "a session and another's token": cookie | {"x-csrf-token": sessions.open().token},
        "a forged session": {"Cookie": f"{COOKIE}={session.cookie[:-2]}xx"},
        "the key as a password": basic(KEY),
        "a wrong password": basic("wrong"),
    }


def expected(way, method, template):
    """What a route answers: `True` where it lets in, else its status."""
    if template in OPEN:
        return True
    if way in ("the key", "the key, the scheme in capitals", *KEY_HEADERS):
        return True
    if way == "the key as a password" and template in WATCHED:
        return True
    if way in ("a session", "a session and another's token"):
        return True if method in READING or template in FORMS else 403
    return True if way == "a session and its token" else 401


def routes(gateway):
    """Every method and template that the application knows."""
    found = {(route.method, route.resource.canonical) for route in gateway.app.router.routes()}
    assert {template for _, template in found} >= OPEN | WATCHED | PAGES | {"/v1/files"}
    return [*sorted(found), ("GET", "/nowhere"), ("POST", "/v1/nowhere")]


async def answer_of(gateway, method, template, headers):
    """Return the status of a request, without waiting for what never ends."""
    path = re.sub(r"{[^}]*}", "x", template)
    url = gateway.url + path
    async with gateway.http.request(method, url, headers=headers, allow_redirects=False) as answer:
        return answer.status


async def test_every_route_asks_for_the_key(starts, sessions):
    """Each way that a request may say who asks, at each route: let in, or 401, or 403 without a token."""
    patience = Patience(wrong_key_s=0.0)  # there are hundreds of wrong ones
    locked = await starts(api_key=KEY, with_pages=True, patience=patience)
    wrong = []
    for way, headers in ways(sessions).items():
        for method, template in routes(locked):
            status = await answer_of(locked, method, template, headers)
            wanted = expected(way, method, template)
            let_in = status not in (401, 403)
            if (let_in if wanted is True else status == wanted) is not True:
                wrong.append((way, method, template, status, wanted))
    assert wrong == []


async def test_without_a_key_everything_is_open(starts):
    """As it is by default, on a loopback address."""
    gateway = await starts(with_pages=True)

    for method, template in routes(gateway):
        assert await answer_of(gateway, method, template, {}) not in (401, 403), template


@pytest.mark.parametrize("path", ["/", "/docs", "/?a=%2Fb"])
async def test_a_browser_without_a_session_is_sent_to_sign_in(locked, path):
    """And comes back to the page that it wanted."""
    async with locked.http.get(
        locked.url + path, headers={"Accept": "text/html,*/*"}, allow_redirects=False
    ) as answer:
        assert answer.status == 303
        onward = answer.headers["Location"]
    async with locked.http.get(locked.url + onward) as page:
        assert page.status == 200
        assert 'name="key"' in await page.text()


async def test_a_link_to_a_download_leads_to_sign_in_and_a_program_is_told_401(locked):
    """A person follows a link; a script reads a status."""
    url = locked.url + "/v1/files/file-x/content"
    for headers, status in (({"Sec-Fetch-Mode": "navigate"}, 303), ({"Accept": "text/html"}, 401)):
        async with locked.http.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == status


async def test_signing_in_and_out(locked):
    """The cookie is for this server's own pages alone, and goes when the reader does."""
    form = {"key": KEY, "next": "/docs"}
    async with locked.http.post(
        locked.url + "/sign-in", data=form, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/docs")
        told = answer.headers["Set-Cookie"]
        cookie = answer.cookies[COOKIE].value
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={LASTS_S}"} <= set(told.split("; "))
    assert "Secure" not in told.split("; ")
    as_reader = {"Cookie": f"{COOKIE}={cookie}"}
    async with locked.http.get(locked.url + "/docs", headers=as_reader) as page:
        token = re.search(r'name="token" value="([^"]+)"', await page.text())[1]

    async def leave(given):
        async with locked.http.post(
            locked.url + "/sign-out",
            data={"token": given},
            headers=as_reader,
            allow_redirects=False,
        ) as answer:
            return answer.status, answer.headers.get("Set-Cookie", "")

    assert (await leave("of somebody else"))[0] == 403
    status, told = await leave(token)
    assert status == 303
    assert "Max-Age=0" in told


async def test_a_cookie_set_behind_tls_is_kept_to_it(locked):
    """The proxy that ends TLS says so."""
    async with locked.http.post(
        locked.url + "/sign-in",
        data={"key": KEY},
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
    ) as answer:
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")


@pytest.mark.parametrize("key", ["", "wrong", "sésame", "\udcff", KEY + "x"])
async def test_a_wrong_key_signs_nobody_in(locked, key):
    """The page says so, and keeps where the reader wanted to go."""
    body = {"key": key.encode("utf-8", "surrogateescape"), "next": "/docs"}
    data = "&".join(
        f"{k}={''.join(f'%{b:02x}' for b in (v if isinstance(v, bytes) else v.encode()))}"
        for k, v in body.items()
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with locked.http.post(locked.url + "/sign-in", data=data, headers=headers) as page:
        assert page.status in (200, 400)  # 400: not UTF-8
        assert COOKIE not in page.cookies
        if page.status == 200:
            text = await page.text()
            assert "not the key of this server" in text
            assert 'name="next" value="/docs"' in text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(999)), "application/x-www-form-urlencoded"),
        (b'{"key": 1}', "application/json"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
    ],
)
async def test_what_is_no_such_form_is_refused(locked, data, kind):
    """A clear 4xx, whatever it is."""
    answer = await locked.call("POST", "/sign-in", data=data, headers={"Content-Type": kind})

    assert answer.status in (400, 413)
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("given", "onward"),
    [
        ("/docs?x=1#y", "/docs?x=1#y"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("https://evil.test", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_signing_in_leads_nowhere_else(given, onward):
    """No link makes this page a way to another server."""
    assert local(given) == onward


def test_a_session_ends_after_twelve_hours_or_with_the_key(sessions, clock):
    """Nothing is stored: time and key alone decide."""
    cookie = sessions.open().cookie

    assert sessions.read(cookie) is not None
    assert Sessions("another", clock=clock).read(cookie) is None
    clock.advance(LASTS_S + 1)
    assert sessions.read(cookie) is None


@pytest.mark.parametrize("cookie", ["", "a", "a.b", "a.b.c", ".", "..", "é", "\udcff", "x" * 9000])
def test_what_was_not_signed_is_no_session(sessions, cookie):
    """Whatever it looks like."""
    assert sessions.read(cookie) is None


WATCHERS = ["10.0.0.7", "172.16.0.0/12", "fd00::/8"]


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("10.0.0.7", True),
        ("10.0.0.8", False),
        ("172.31.0.1", True),
        ("::ffff:172.16.0.1", True),
        ("fd12::1", True),
        ("fe80::1%eth0", False),
        ("127.0.0.1", False),
        ("", False),
        (None, False),
        ("/run/socket", False),
    ],
)
@pytest.mark.parametrize("at", [Entrance.WATCH, Entrance.API, Entrance.PAGE])
def test_addresses_that_may_watch_read_figures_and_nothing_else(clock, address, may, at):
    """Prometheus needs no key then, and gets no further."""
    from batchline.settings import Settings

    networks = Settings(watch_from=",".join(WATCHERS)).watch_from
    lock = Lock(KEY, watchers=networks, clock=clock)

    found = lock.who(read({}), at, address=address, is_change=False)

    let_in = may and at is Entrance.WATCH
    assert found == (Caller(Means.ADDRESS) if let_in else Refusal.NO_KEY)


def test_wrong_keys_are_answered_later_and_later():
    """A few are free, none waits long, and an address that was quiet begins anew."""
    tries = WrongKeys()

    delays = [tries.note("10.0.0.7", now=float(n))[0] for n in range(12)]

    assert delays[:4] == [0, 0, 0, 0.1]
    assert delays == sorted(delays)
    assert delays[-1] == 2.0
    assert tries.note("10.0.0.8", now=12.0)[0] == 0
    assert tries.note("10.0.0.7", now=1000.0)[0] == 0


def test_wrong_keys_are_logged_once_an_hour_for_each_address():
    """A /64 of IPv6 is one address: its owner has all of it."""
    tries = WrongKeys()

    assert [tries.note("2001:db8::1", now=0.0)[1], tries.note("2001:db8::2", now=1.0)[1]] == [
        True,
        False,
    ]
    assert tries.note("2001:db8:0:1::1", now=2.0)[1]
    assert tries.note("2001:db8::3", now=4000.0)[1]


def test_what_is_known_of_addresses_is_bounded():
    """An attacker with many of them fills no memory."""
    tries = WrongKeys()
    for n in range(5000):
        tries.note(f"10.0.{n >> 8}.{n & 255}", now=0.0)

    assert len(tries._by_address) == 1000


async def test_the_right_key_never_waits_for_wrong_ones(locked):
    """All clients behind one proxy have one address."""
    wrong, right = {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {KEY}"}
    for _ in range(4):
        await locked.call("GET", "/v1/files", headers=wrong)
    order = []

    async def ask(name, headers):
        await locked.call("GET", "/v1/files", headers=headers)
        order.append(name)

    import asyncio

    await asyncio.gather(ask("wrong", wrong), ask("right", right))
    assert order == ["right", "wrong"]
