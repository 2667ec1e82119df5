"""Batches for the audio endpoints: files are fetched or decoded, and sent as forms."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from aiohttp import web
from clocks import MovedClock
from media_host import HANG, NAME, WAV, MediaHost
from scripted import error
from waiting import until

from batchline.model import BackendStatus
from dispatcher.backends.backend import News
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import Signal, State
from dispatcher.backends.lacks import Need
from dispatcher.backends.liveness import HangLimits, Liveness

ENDPOINT = "/v1/audio/transcriptions"
DATA = "data:audio/wav;base64," + b64encode(WAV).decode()
ALLOWED = {"media_hosts": NAME, "media_networks": "127.0.0.0/8"}


@pytest.fixture
async def host(bench):
    async with MediaHost() as running:
        bench.fetching = {"look_up": running.look_up}
        yield running


def line(index, url, endpoint=ENDPOINT, **fields):
    body = {"model": "m", "file_url": url, "tag": f"t{index}"} | fields
    return json.dumps({"custom_id": f"id-{index}", "method": "POST", "url": endpoint, "body": body})


async def submit(bench, *urls, endpoint=ENDPOINT, **fields):
    lines = [line(index, url, endpoint, **fields) for index, url in enumerate(urls)]
    return await bench.submit("\n".join(lines), endpoint=endpoint)


def failures(errors):
    return {found["custom_id"]: found["error"] for found in errors}


@pytest.mark.parametrize("endpoint", [ENDPOINT, "/v1/audio/translations"])
async def test_a_batch_by_data_and_by_url(bench, upstream, host, endpoint):
    """Each line becomes a form with its file; answers have no usage."""
    upstream.script = lambda body, attempt: web.json_response({"text": ""})
    batch = await submit(bench, DATA, host.url(), endpoint=endpoint, language="de")
    async with bench.running(**ALLOWED):
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert [found["response"]["body"] for found in output] == [{"text": ""}] * 2
    assert (errors, ended.usage.total_tokens) == ([], 0)
    assert {request.path for request in upstream.requests} == {endpoint}
    for request in upstream.requests:
        assert request.form["file"].content == WAV
        assert request.form["file"].filename == "audio.wav"
        assert (request.form["model"], request.form["language"]) == ("m", "de")
        assert "file_url" not in request.form


async def test_a_file_that_is_not_there_fails_its_line_alone(bench, upstream, host):
    """With a reason; no server is doubted, and none is asked for a second opinion."""
    host.files["/gone"] = 404
    batch = await submit(bench, *[host.url("/gone")] * 20, host.url())
    async with bench.running(**ALLOWED):
        ended = await bench.ended(batch)
        report = await bench.store.fleet_report()

    output, errors = await bench.results(ended)
    assert [found["custom_id"] for found in output] == ["id-20"]
    assert set(map(json.dumps, failures(errors).values())) == {
        json.dumps(
            {
                "code": "media_refused",
                "message": "The audio of this request was not sent: the file is not there (404).",
            }
        )
    }
    assert [backend.circuit for backend in report.backends] == ["closed"]
    assert host.asked["/gone"] == 20
    assert upstream.canaries == []


async def test_a_busy_host_is_asked_again_and_fails_lines_at_last(bench, upstream, host):
    """As often as a line may be tried; then it says why."""
    host.files |= {"/busy": lambda n: 503 if n < 3 else WAV, "/broken": 500}
    batch = await submit(bench, host.url("/busy"), host.url("/broken"))
    async with bench.running(max_attempts=3, **ALLOWED):
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert [found["custom_id"] for found in output] == ["id-0"]
    assert failures(errors) == {
        "id-1": {
            "code": "media_unavailable",
            "message": "The audio of this request was not sent: its host answers 500.",
        }
    }
    assert (host.asked["/busy"], host.asked["/broken"]) == (3, 3)


async def test_a_file_is_fetched_again_for_a_retry(bench, upstream, host):
    """Between attempts it takes no memory."""
    upstream.script = lambda body, attempt: (
        error(503) if attempt == 1 else web.json_response({"text": "so"})
    )
    batch = await submit(bench, host.url())
    async with bench.running(**ALLOWED):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1
    assert host.asked["/a.wav"] == 2


async def test_an_answer_without_text_is_none(bench, upstream):
    """It is tried again, as after an error."""
    upstream.script = lambda body, attempt: web.json_response(
        {} if attempt == 1 else {"text": "so"}
    )
    batch = await submit(bench, DATA)
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1
    assert upstream.seen["t0"] == 2


async def test_hosts_that_nobody_allowed_are_refused_at_admission(bench, host):
    """The whole batch fails, its fault names the setting; nothing is asked."""
    batch = await submit(bench, DATA, host.url())
    async with bench.running():
        ended = await bench.ended(batch)

    (fault,) = ended.faults
    assert (fault.line, fault.param) == (2, "body.file_url")
    assert "BATCHLINE_MEDIA_HOSTS" in fault.message
    assert not host.asked


async def test_a_host_that_is_allowed_no_more_fails_what_is_left(bench, upstream, host):
    """The setting is obeyed at each fetch, also after a restart."""
    upstream.script = lambda body, attempt: error(503)
    batch = await submit(bench, host.url())
    async with bench.running(**ALLOWED):
        await until(lambda: upstream.requests)
    async with bench.running():
        ended = await bench.ended(batch)

    _, errors = await bench.results(ended)
    assert failures(errors)["id-0"]["code"] == "media_refused"
    assert "BATCHLINE_MEDIA_HOSTS" in failures(errors)["id-0"]["message"]


async def test_a_cancel_ends_what_is_fetched(bench, upstream, host):
    """A host that hangs holds up no end; other batches go on meanwhile."""
    host.files["/hang"] = HANG
    batch = await submit(bench, *[host.url("/hang")] * 3)
    async with bench.running(**ALLOWED):
        await until(lambda: host.in_flight == 3)
        other = await bench.submit(5)
        assert (await bench.ended(other)).counts.completed == 5
        await bench.store.cancel_batch(batch.id, now=int(bench.clock.now()))
        ended = await bench.ended(batch)
        await until(lambda: host.in_flight == 0)

    assert ended.counts.completed == 0
    assert {request.path for request in upstream.requests} == {"/v1/chat/completions"}


async def test_files_stay_within_the_memory_and_all_are_sent(bench, upstream, host):
    """Thirty files of which two fit at a time, and a bound that is less than one line."""
    host.files["/big"] = bytes(40_000)
    batch = await submit(bench, *[host.url("/big")] * 30)
    async with bench.running(max_held_bytes=200_000, media_max_bytes=50_000, **ALLOWED):
        ended = await bench.ended(batch)
    alone = await submit(bench, *[DATA] * 10)
    async with bench.running(max_held_bytes=100):
        ended_alone = await bench.ended(alone)

    assert ended.counts.completed == 30
    assert upstream.most_in_flight <= 2
    assert ended_alone.counts.completed == 10


def test_no_server_hangs_because_a_file_is_fetched():
    """Its engine stands still with a slot taken, and rightly so; once the line is sent, time counts."""
    clock = MovedClock(1000.0)
    balancer = Balancer("http://a", [], hang=HangLimits(300.0), clock=clock)
    status = BackendStatus("a", "http://a", alive=True, since=0)

    def look():
        liveness = Liveness(engine=1, moved_at=1000.0, told_at=clock.monotonic())
        return balancer.record_probe([status], {"a": liveness}).hung

    look()
    balancer.set_limit(4)
    first = balancer.place(Need(endpoint=ENDPOINT))
    with first.backend.preparing(clock):
        clock.advance(1000)
        assert look() == []
    clock.advance(200)
    assert look() == []
    clock.advance(200)
    assert look() == [first.backend]
    assert first.backend.circuit.state is State.OPEN
    balancer.record_result(first, News(Signal.NONE, "a"))
    balancer.release(first)
    assert (first.backend.in_flight, first.backend.unsent) == (0, 0)


async def test_a_line_taken_from_a_hung_server_while_it_is_fetched_goes_on(bench, upstream, host):
    """It was not sent: it waits for another place, and is no loss."""
    host.files["/slow"] = HANG
    batch = await submit(bench, host.url("/slow"))
    async with bench.running(**ALLOWED) as dispatcher:
        await until(lambda: host.in_flight)
        (backend,) = dispatcher._flight._balancer.backends
        dispatcher._flight.abort(backend)
        host.files["/slow"] = WAV
        ended = await bench.ended(batch)

    assert ended.counts.completed == 1
    assert len(upstream.requests) == 1


async def test_nothing_is_left_behind(bench, upstream, host):
    """Neither memory nor fetches, after a dispatcher was stopped in the middle."""
    host.files["/hang"] = HANG
    batch = await submit(bench, host.url("/hang"), DATA)
    async with bench.running(**ALLOWED) as dispatcher:
        await until(lambda: host.in_flight and upstream.requests)
    assert dispatcher._memory.media.held_bytes == 0
    await until(lambda: host.in_flight == 0)
    host.files["/hang"] = WAV
    async with bench.running(**ALLOWED):
        assert (await bench.ended(batch)).counts.completed == 2
