"""A line's body becomes a form: its file is decoded or fetched, or it is said why not."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from contextlib import AsyncExitStack
from email import message_from_bytes
from ipaddress import ip_network

import pytest
from aiohttp import web
from media_host import CUT, HANG, NAME, WAV, MediaHost, moved
from shortage import none_left
from waiting import until

from batchline.outbound.media_urls import MediaRules
from dispatcher.media.audio import Audio, form_of_data_url
from dispatcher.media.fetch import Fetcher, OutOfDescriptors, Unfetched
from dispatcher.media.form import frame
from dispatcher.media.silence import silence
from dispatcher.sending.memory import Memory

LOOPBACK = (ip_network("127.0.0.0/8"),)
MOST = 100_000


class Maker:
    """What makes forms, and the memory that it uses."""

    def __init__(self, rules, fetcher, memory):
        self.memory = memory
        self.audio = Audio(rules, fetcher, memory.media)

    async def form(self, url, within_s=60.0, **fields):
        body = json.dumps({"model": "m", "file_url": url} | fields).encode()
        return await self.audio.form_of(body, within_s=within_s)

    async def refusal(self, url, **options):
        """Return why there is no form, and whether that is final; no room is kept."""
        held_bytes = self.memory.held_bytes
        with pytest.raises(Unfetched) as caught:
            await self.form(url, **options)
        assert self.memory.held_bytes == held_bytes
        return str(caught.value), caught.value.is_final


@pytest.fixture
async def host():
    async with MediaHost() as running:
        yield running


@pytest.fixture
async def opened(host):
    async with AsyncExitStack() as stack:

        async def open_maker(*, networks=LOOPBACK, memory_bytes=1 << 20, timeout_s=60.0, most=MOST):
            rules = MediaRules((NAME, "*." + NAME), networks, most)
            fetcher = Fetcher(rules, look_up=host.look_up, timeout_s=timeout_s)
            await stack.enter_async_context(fetcher)
            return Maker(rules, fetcher, Memory(most_bytes=memory_bytes))

        yield open_maker


@pytest.fixture
async def maker(opened):
    return await opened()


def parts_of(form):
    """Read a form as others do: name, filename, type and content of each part."""
    head = f"Content-Type: {form.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + bytes(form.body))
    return [
        (
            part.get_param("name", header="Content-Disposition"),
            part.get_filename(),
            part.get_content_type() if part.get_filename() else None,
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


def data_url(data, media_type="audio/ogg;codecs=opus"):
    return f"data:{media_type};base64,{b64encode(data).decode()}"


async def test_a_data_url_becomes_a_file(maker):
    """The fields come before it; the room is given back with the form."""
    with await maker.form(data_url(WAV), language="de") as form:
        parts = parts_of(form)
        held_bytes = maker.memory.held_bytes

    assert parts == [
        ("model", None, None, b"m"),
        ("language", None, None, b"de"),
        ("file", "audio.ogg", "audio/ogg", WAV),
    ]
    assert held_bytes >= len(WAV)
    assert maker.memory.held_bytes == 0


async def test_a_file_is_fetched(maker, host):
    """With its type, and how its name ends; nothing of ours goes along."""
    with await maker.form(host.url()) as form:
        parts = parts_of(form)
        held_bytes = maker.memory.held_bytes

    assert parts[-1] == ("file", "audio.wav", "audio/x-wav", WAV)
    assert held_bytes == len(WAV)
    assert maker.memory.held_bytes == 0
    (headers,) = host.headers
    assert headers["Host"] == f"{NAME}:{host.port}"
    assert "Authorization" not in headers
    assert headers["Accept-Encoding"] == "identity"


async def test_a_file_of_which_no_size_is_told_is_fetched(maker, host):
    """It comes in chunks, and is asked for twice: the second time with room for the largest."""

    def stream(_):
        async def pieces():
            for start in range(0, len(WAV), 100):
                yield WAV[start : start + 100]

        return web.Response(body=pieces())

    host.files["/s"] = stream
    with await maker.form(host.url("/s")) as form:
        parts = parts_of(form)
        held_bytes = maker.memory.held_bytes

    assert parts[-1] == ("file", "audio", "application/octet-stream", WAV)
    assert held_bytes == len(WAV)


async def test_redirects_lead_to_allowed_hosts_alone(maker, host):
    """Three at most; each place is judged."""
    host.files |= {
        "/1": moved("/2", 301),
        "/2": moved(f"//eu.{NAME}:{host.port}/3", 307),
        "/3": moved("/a.wav", 308),
        "/0": moved("/1"),
        "/out": moved("http://elsewhere.test/a.wav"),
        "/in": moved("http://127.0.0.1/latest/meta-data"),
        "/data": moved(data_url(b"x")),
        "/odd": moved("http://[x/"),
        "/nowhere": 302,
        "/file": moved("file:///etc/passwd"),
    }
    with await maker.form(host.url("/1")) as form:
        assert parts_of(form)[-1][3] == WAV

    why = {path: await maker.refusal(host.url(path)) for path in host.files if path not in OWN}
    assert all(is_final for _, is_final in why.values())
    assert "more than 3 times" in why["/0"][0]
    assert "not fetched from 'elsewhere.test'" in why["/out"][0]
    assert "not fetched from '127.0.0.1'" in why["/in"][0]
    assert "data URL" in why["/data"][0]
    assert "no URL" in why["/odd"][0]
    assert "more than 3 times" in why["/nowhere"][0]
    assert "write an http or https URL" in why["/file"][0]


OWN = {"/a.wav", "/1", "/2", "/3"}


async def test_an_allowed_name_that_leads_into_the_site_is_refused(opened, host):
    """Nothing connects; the setting is named."""
    maker = await opened(networks=())

    why, is_final = await maker.refusal(host.url())

    assert is_final
    assert "127.0.0.1, which is not public" in why
    assert "BATCHLINE_MEDIA_NETWORKS" in why
    assert not host.asked


STATUSES = {
    404: ("not there (404)", True),
    403: ("refuses it (403)", True),
    401: ("a login (401)", True),
    410: ("answers 410", True),
    206: ("answers 206", True),
    408: ("answers 408", False),
    429: ("answers 429", False),
    500: ("answers 500", False),
    503: ("answers 503", False),
}


@pytest.mark.parametrize(("status", "told"), STATUSES.items())
async def test_what_a_status_means(maker, host, status, told):
    """A host that is busy or broken may have the file later."""
    host.files["/x"] = status

    why, is_final = await maker.refusal(host.url("/x?secret=1"))

    assert told[0] in why
    assert is_final is told[1]
    assert "secret" not in why


async def test_losses_may_be_tried_again(maker, host):
    """A host that breaks off, or takes no connections."""
    host.files["/cut"] = CUT
    cut = await maker.refusal(host.url("/cut"))
    closed = await maker.refusal(f"http://{NAME}:9/a.wav")

    assert cut == ("its host broke off (RemoteProtocolError)", False)
    assert closed == ("its host broke off (ConnectError)", False)


async def test_a_host_that_hangs_is_given_up(opened, host):
    """After the time that all of it may take, or what is left of the batch's."""
    host.files["/hang"] = HANG
    maker = await opened(timeout_s=0.05)
    patient = await opened()

    assert await maker.refusal(host.url("/hang")) == ("it did not arrive within 0 s", False)
    assert (await patient.refusal(host.url("/hang"), within_s=0.05))[1] is False


async def test_a_file_that_is_too_large_is_refused(maker, host):
    """Whether its host tells so, or sends on and on; in a data URL, too."""

    def endless(_):
        async def pieces():
            while True:
                yield bytes(1 << 16)

        return web.Response(body=pieces())

    host.files |= {"/told": bytes(MOST + 1), "/endless": endless, "/fits": bytes(MOST)}
    whys = [
        await maker.refusal(host.url("/told")),
        await maker.refusal(host.url("/endless")),
        await maker.refusal(data_url(bytes(MOST + 1000))),
    ]

    assert {is_final for _, is_final in whys} == {True}
    assert all("larger than 100,000 bytes" in why for why, _ in whys)
    assert all("BATCHLINE_MEDIA_MAX_BYTES" in why for why, _ in whys)
    with await maker.form(host.url("/fits")) as form:
        assert len(parts_of(form)[-1][3]) == MOST


async def test_what_is_no_file_is_refused(maker, host):
    """Nothing in it, no base64, packed unasked."""
    packed = web.Response(body=WAV, headers={"Content-Encoding": "gzip"})
    host.files |= {"/empty": b"", "/packed": packed}

    whys = [
        await maker.refusal(host.url("/empty")),
        await maker.refusal("data:audio/wav;base64,"),
        await maker.refusal("data:audio/wav;base64,AA$A"),
        await maker.refusal("data:audio/wav;base64,\u00e4"),
        await maker.refusal(host.url("/packed")),
        await maker.refusal("https://elsewhere.test/a"),
    ]

    assert {is_final for _, is_final in whys} == {True}
    assert [why for why, _ in whys[:4]] == ["the file is empty"] * 2 + [
        "what stands in the data URL is not base64"
    ] * 2
    assert "compressed" in whys[4][0]
    assert "not fetched from" in whys[5][0]


async def test_a_shortage_of_our_own_is_told_apart(maker, host):
    """It is no host's fault, and costs no attempt."""
    with none_left(), pytest.raises(OutOfDescriptors):
        await maker.form(host.url())
    assert maker.memory.held_bytes == 0


async def test_files_take_half_of_the_memory_and_others_wait_their_turn(opened, host):
    """Nobody is asked for a file for which there is no room."""
    host.files["/big"] = bytes(40_000)
    maker = await opened(memory_bytes=100_000)
    (await maker.form(host.url("/big"))).__exit__()  # it is known now how large they are
    host.asked.clear()

    with await maker.form(host.url("/big")) as first:
        second = asyncio.ensure_future(maker.form(host.url("/big")))
        await until(lambda: maker.memory.media.is_waited_for)
        assert host.asked["/big"] == 1
        assert maker.memory.held_bytes == 40_000
        assert len(first.body) > 40_000
    with await second:
        assert maker.memory.held_bytes == 40_000

    assert host.most_in_flight == 1
    assert maker.memory.held_bytes == 0


async def test_a_file_larger_than_all_there_is_goes_alone(opened, host):
    """Else its line would wait for ever."""
    host.files["/big"] = bytes(90_000)
    maker = await opened(memory_bytes=1000)

    with await maker.form(host.url("/big")):
        assert maker.memory.held_bytes == 90_000
    assert maker.memory.held_bytes == 0


async def test_a_line_that_is_taken_away_gives_its_room_back(maker, host):
    """Its batch was cancelled while its file came."""
    host.files["/hang"] = HANG
    fetching = asyncio.ensure_future(maker.form(host.url("/hang")))
    await host.begun.wait()

    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)

    assert fetching.cancelled()
    assert maker.memory.held_bytes == 0


def test_names_of_fields_cannot_break_the_form():
    """A client writes them."""
    odd = 'a"; filename="x\r\n\r\nb'
    made = frame([(odd, "1")], boundary="b", media_type="text/html\r\nX: y", path="/a.%0d")

    assert b'name="a%22; filename=%22x%0D%0A%0D%0Ab"\r\n' in made.head
    assert b'filename="audio"\r\nContent-Type: application/octet-stream\r\n\r\n' in made.head


def test_the_canary_is_a_form_with_silence():
    """Half a second of it, as WAV."""
    body, kind = form_of_data_url(json.dumps({"model": "m", "file_url": silence()}).encode())

    assert kind.startswith("multipart/form-data; boundary=batchline-")
    assert b'filename="audio.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF' in body
