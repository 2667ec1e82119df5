"""Results while a batch runs and afterwards: complete, exact when resumed, the same bytes as the files."""

from __future__ import annotations

import asyncio
import json
import random
import time

import aiohttp
import pytest
from aiohttp import web
from claims import claim_one
from scripted import HANG, completion, error, taking

from batchline.blobs.keys import finish_index_key, segments_prefix
from batchline.jsonl.result_lines import error_record
from batchline.model import Outcome, Settlement, Slice, request_id
from batchline.results import KnownPlaces, Reader, Window
from batchline.states import BatchStatus, OutcomeKind
from gateway.keys import Patience


def numbers(body):
    """The indexes of the requests that NDJSON lines answer, in their order."""
    assert body == b"" or body.endswith(b"\n")
    return [int(json.loads(line)["custom_id"][3:]) for line in body.split(b"\n") if line]


def hold(*held, failing=()):
    """A script that never answers the lines `held` and refuses the lines `failing`."""

    def script(body, attempt):
        index = int(body["tag"][1:])
        if index in held:
            return HANG
        return error(400, "no") if index in failing else web.json_response(completion())

    return script


async def results(house, batch, query=""):
    return await house.call("GET", f"/batches/{batch.id}/results{query}")


async def errors(house, batch, query=""):
    return await house.call("GET", f"/batches/{batch.id}/errors{query}")


async def follow(house, batch, after=0, *, stop_after=None):
    """Follow until the end, or cut the connection after so many bytes; return the whole lines got."""
    got = b""
    url = f"{house.url}/batches/{batch.id}/results?follow=true&after_line={after}"
    async with house.http.get(url) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            got += chunk
            if stop_after is not None and len(got) >= stop_after:
                response.close()
                got = got[:stop_after]
                break
    whole = got[: got.rfind(b"\n") + 1]
    return [line for line in whole.split(b"\n") if line]


@pytest.mark.spec("beyond-results", "2.5-partial-output")
async def test_what_is_done_so_far_comes_in_input_order_and_in_the_form_of_the_files(
    house, upstream
):
    """Successes and failures alike, while others are still in flight; later the very same bytes."""
    upstream.script = hold(0, 7, failing={3})
    batch = await house.submit(12)
    async with house.running():
        await house.finished(batch, 10)
        running = await results(house, batch)
        upstream.release.set()
        ended = await house.ended(batch)
    after = await results(house, batch)
    output, failed = (
        await house.content(ended.output_file_id),
        await house.content(ended.error_file_id),
    )

    assert (running.status, running.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert numbers(running.body) == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert (running.headers["X-Last-Line"], running.headers["X-Incomplete"]) == ("10", "true")
    assert numbers(after.body) == list(range(12))
    assert (after.headers["X-Last-Line"], after.headers["X-Incomplete"]) == ("12", "false")
    assert set(running.body.splitlines()) < set(after.body.splitlines())
    assert sorted(after.body.splitlines()) == sorted((output + failed).splitlines())


@pytest.mark.spec("beyond-results-after-line")
async def test_after_line_gives_exactly_what_finished_since(house, upstream):
    """A line that finished late is not lost, though later lines of the input came before it."""
    upstream.script = hold(2, 5)
    batch = await house.submit(10)
    async with house.running():
        await house.finished(batch, 8)
        first = await results(house, batch)
        again = await results(house, batch, "?after_line=8")
        upstream.release.set()
        await house.ended(batch)
        rest = await results(house, batch, f"?after_line={first.headers['X-Last-Line']}")

    assert numbers(first.body) == [0, 1, 3, 4, 6, 7, 8, 9]
    assert again.body == b""
    assert numbers(rest.body) == [2, 5]


@pytest.mark.spec("beyond-results-after-line")
async def test_every_after_line_cuts_the_same_list(house, upstream):
    """For each number, running or ended: the answer is what finished after it, nothing else."""
    upstream.script = hold(0, 4, 9)
    batch = await house.submit(10)
    async with house.running():
        await house.finished(batch, 7)
        running = [
            numbers((await results(house, batch, f"?after_line={n}")).body) for n in range(8)
        ]
        upstream.release.set()
        await house.ended(batch)
    ended = [numbers((await results(house, batch, f"?after_line={n}")).body) for n in range(11)]
    order = [numbers(b"\n".join(await follow(house, batch, n)) + b"\n") for n in range(11)]

    for n in range(8):
        assert ended[n] == sorted(running[n] + [0, 4, 9])
    for n in range(11):
        assert order[n] == order[0][n:]
        assert ended[n] == sorted(order[n])


@pytest.mark.spec("beyond-results-follow")
async def test_following_streams_lines_as_they_finish_and_ends_with_the_batch(house, upstream):
    """Lines come before the batch ends; the last ones too; the stream ends cleanly by itself."""
    upstream.script = hold(0)
    batch = await house.submit(20)
    seen = asyncio.Event()
    got = []

    async def read():
        async with house.http.get(
            f"{house.url}/batches/{batch.id}/results?follow=true"
        ) as response:
            async for line in response.content:
                got.append(json.loads(line)["custom_id"])
                if len(got) == 19:
                    seen.set()

    async with house.running(), asyncio.timeout(60):
        reading = asyncio.ensure_future(read())
        await seen.wait()
        early = await house.store.get_batch(batch.id)
        upstream.release.set()
        await reading

    assert early.status is BatchStatus.IN_PROGRESS
    assert sorted(got) == sorted(f"id-{i}" for i in range(20))
    assert got[-1] == "id-0"


@pytest.mark.spec("beyond-results-after-line", "beyond-results-follow")
@pytest.mark.parametrize("seed", range(4))
async def test_a_client_cut_off_anywhere_gets_each_line_exactly_once(house, upstream, seed):
    """Cut at random bytes, before, across and after the end: count the lines, go on, miss nothing."""
    chance = random.Random(seed)

    def any_answer(body, attempt):
        if chance.random() < 0.1:
            return error(400, "no")
        return web.json_response(completion("x" * chance.randrange(400)))

    upstream.script = taking(lambda: chance.random() * 0.03, any_answer)
    batch = await house.submit(400)
    got, cuts = [], 0
    async with house.running(), asyncio.timeout(60):
        while len(got) < 400:
            cuts += 1
            got += await follow(house, batch, len(got), stop_after=chance.randrange(1, 20_000))
        ended = await house.ended(batch)
    whole = await results(house, batch)

    assert cuts > 5
    assert sorted(got) == sorted(whole.body.splitlines())
    assert len(set(got)) == ended.counts.total == 400


@pytest.mark.spec("beyond-results-follow")
async def test_lines_that_never_ran_come_last(house, upstream):
    """After a cancel the followers get the unrun lines, as the error file has them."""
    upstream.script = hold(*range(5, 30))
    batch = await house.submit(30)
    async with house.running(), asyncio.timeout(60):
        await house.finished(batch, 5)
        following = asyncio.ensure_future(follow(house, batch))
        await house.call("POST", f"/batches/{batch.id}/cancel")
        lines = await following
        await house.ended(batch)
    failed = await errors(house, batch)

    assert [json.loads(line)["custom_id"] for line in lines[5:]] == [
        f"id-{i}" for i in range(5, 30)
    ]
    assert lines[5:] == failed.body.splitlines()
    assert json.loads(lines[5])["error"]["code"] == "batch_cancelled"


async def test_results_stay_after_the_rows_are_pruned(house, upstream):
    """Once segments and rows are gone, the files and their index answer all the same."""
    upstream.script = hold(failing=set(range(0, 300, 7)))
    batch = await house.submit(300)
    async with house.running():
        await house.ended(batch)
        before = [await follow(house, batch, n) for n in (0, 100, 299)]
    while await house.store.prune(limit=50):
        pass
    for key in await house.store.garbage(limit=100):
        await house.blobs.delete(key)
    pruned = [await follow(house, batch, n) for n in (0, 100, 299)]

    assert pruned == before
    assert numbers((await results(house, batch)).body) == list(range(300))


@pytest.mark.spec("beyond-errors")
async def test_errors_are_the_failed_lines_so_far_and_then_the_error_file(house, upstream):
    """In input order, by number too; after the end byte for byte the error file."""
    upstream.script = hold(0, failing={1, 5, 8})
    batch = await house.submit(10)
    async with house.running():
        await house.finished(batch, 9)
        running = await errors(house, batch)
        none_since = await errors(house, batch, "?after_line=9")
        upstream.release.set()
        ended = await house.ended(batch)
    after = await errors(house, batch)

    assert numbers(running.body) == [1, 5, 8]
    assert (running.headers["X-Last-Line"], none_since.body) == ("9", b"")
    assert after.body == await house.content(ended.error_file_id)


async def test_a_failed_batch_has_no_results_and_its_faults_as_errors(house, upstream):
    """Faults come in the form of result lines, each with its line and param."""
    batch = await house.submit('{"custom_id": "a"}\nnonsense\n')
    async with house.running():
        ended = await house.ended(batch)
    lines = [json.loads(line) for line in (await errors(house, batch)).body.splitlines()]

    assert ended.status is BatchStatus.FAILED
    assert (await results(house, batch)).body == b""
    assert await follow(house, batch) == []
    assert {tuple(line) for line in lines} == {("id", "custom_id", "response", "error")}
    found = [(line["error"]["code"], line["error"]["line"]) for line in lines]
    assert found[0] == ("missing_required_parameter", 1)
    assert found[-1] == ("invalid_json_line", 2)


async def test_results_whose_files_are_deleted_are_gone_and_say_so(house, upstream):
    """404 naming the file; the other kind is still there."""
    upstream.script = hold(failing={1})
    batch = await house.submit(3)
    async with house.running():
        ended = await house.ended(batch)
    await house.call("DELETE", f"/files/{ended.output_file_id}")
    for query in ("", "?follow=true", "?after_line=1"):
        gone = await results(house, batch, query)
        assert gone.status == 404
        assert (
            f"its output file {ended.output_file_id} was deleted" in gone.json["error"]["message"]
        )
    assert numbers((await errors(house, batch)).body) == [1]


@pytest.mark.spec("beyond-results-bad-query")
@pytest.mark.parametrize(
    ("path", "param", "says"),
    [
        ("results?after_line=x", "after_line", "expected an integer"),
        ("results?after_line=", "after_line", "expected an integer"),
        ("results?after_line=-1", "after_line", "Expected a value >= 0"),
        ("results?after_line=4", "after_line", "Expected a value <= 3"),
        ("results?follow=maybe", "follow", "Supported values are: 'true' and 'false'"),
        ("errors?follow=true", "follow", "cannot be followed"),
        ("errors?after_line=99999999999999999999999", "after_line", "Expected a value <= 3"),
    ],
)
async def test_bad_queries_are_refused(house, upstream, path, param, says):
    """400 naming the parameter and what is allowed."""
    batch = await house.submit(3)
    async with house.running():
        await house.ended(batch)
    answer = await house.call("GET", f"/batches/{batch.id}/{path}")

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert says in answer.json["error"]["message"]


@pytest.mark.spec("beyond-results-bad-query")
async def test_an_unknown_batch_has_neither(house):
    """404, as for the batch itself."""
    for path in ("results", "errors", "results?follow=true"):
        answer = await house.call("GET", f"/batches/batch_x/{path}")
        assert answer.status == 404
        assert answer.json["error"]["message"] == "No batch found with id 'batch_x'."


async def test_a_batch_that_waits_answers_with_what_there_is(house):
    """Before anything finished: nothing, and incomplete. HEAD has no body."""
    batch = await house.submit(3)
    empty = await results(house, batch)
    head = await house.call("HEAD", f"/batches/{batch.id}/results")

    assert (empty.status, empty.body, empty.headers["X-Incomplete"]) == (200, b"", "true")
    assert (head.status, head.body, head.headers["X-Last-Line"]) == (200, b"", "0")


@pytest.mark.parametrize("patience", [Patience(heartbeat_s=0.0)])
async def test_silence_is_filled_with_blank_lines(house):
    """While nothing finishes a blank line comes now and then; it is no line of the batch."""
    batch = await house.submit(1)
    async with asyncio.timeout(60):
        async with house.http.get(
            f"{house.url}/batches/{batch.id}/results?follow=true"
        ) as response:
            assert await response.content.readline() == b"\n"
            assert await response.content.readline() == b"\n"


async def test_who_goes_away_is_forgotten(house, upstream):
    """A follower that disconnects leaves no request behind, and others are served meanwhile."""
    from gateway.running_requests import RUNNING

    batch = await house.submit(1)
    url = f"{house.url}/batches/{batch.id}/results?follow=true"
    running = house.server.app[RUNNING]
    async with asyncio.timeout(60):
        async with aiohttp.ClientSession() as http:
            answers = [await http.get(url) for _ in range(5)]
            assert (await house.call("GET", f"/batches/{batch.id}")).status == 200
            for answer in answers:
                answer.close()
        await running.drain(grace_s=10)
    assert running._count == 0


async def test_a_stop_cuts_followers_off_instead_of_ending_well(house, upstream):
    """A clean end means that the batch ended; a stop of the gateway is seen as a broken connection."""
    from gateway.running_requests import RUNNING

    batch = await house.submit(1)
    url = f"{house.url}/batches/{batch.id}/results?follow=true"
    async with asyncio.timeout(60):
        async with house.http.get(url) as response:
            await house.server.app[RUNNING].drain(grace_s=10)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def end_and_forget(house, batch):
    """Let the batch end, and drop its rows and segments at once."""
    await house.ended(batch)
    while await house.store.prune(limit=500):
        pass
    for key in await house.store.garbage(limit=100):
        await house.blobs.delete(key)


async def test_a_batch_that_ends_under_a_reader_is_read_on_from_its_files(house, upstream):
    """Half read from segments, half from the files: nothing twice, nothing lost, order kept."""
    upstream.script = lambda body, attempt: (
        HANG if body["tag"] == "t0" else web.json_response(completion(body["tag"] + "x" * 60_000))
    )
    batch = await house.submit(60)
    async with house.running():
        batch = await house.finished(batch, 59)
        reader = Reader(house.store, house.blobs, clock=time.time, known=KnownPlaces())
        by_input = reader.snapshot(batch, Window(0, 59))
        failed = reader.snapshot(batch, Window(0, 59), only_failed=True)
        by_finish = reader.follow(batch, after=0)
        first, followed = await anext(by_input), await anext(by_finish)
        upstream.release.set()
        await end_and_forget(house, batch)

        rest = [record async for records in by_input for record in records]
        followed += [record async for records in by_finish for record in records]
        assert [r async for r in failed] == []

    assert 0 < len(first) < 59
    assert numbers(b"".join(first + rest)) == list(range(1, 60))
    assert sorted(numbers(b"".join(followed))) == list(range(60))
    assert len(followed) == 60


async def test_lost_bytes_of_a_running_batch_are_an_error_not_a_short_answer(house, upstream):
    """Segments that vanish while their batch is open: 503, nothing that looks whole."""
    upstream.script = hold(0)
    batch = await house.submit(5)
    async with house.running():
        await house.finished(batch, 4)
        await house.blobs.delete(segments_prefix(batch.id))
        answers = [await results(house, batch, query) for query in ("", "?follow=true")]

    assert [a.status for a in answers] == [503, 503]
    assert "their bytes are gone" in answers[0].json["error"]["message"]


async def test_lines_that_came_after_their_lease_was_lost_have_no_number(house):
    """A segment may hold records that do not count: they are neither sent nor numbered."""
    batch = await house.submit(8)
    store = house.store
    await store.add_slices([Slice(batch.seq, 0, 4, 0, 10), Slice(batch.seq, 4, 4, 10, 10)])
    await store.accept(batch, total=8, model="m", now=1)
    lost, kept = (await claim_one(store, batch, slices=2, holder="a", ttl_s=30)).leases
    await store.release([lost])

    def answered(index):
        record = error_record(request_id(batch.id, index), f"id-{index}", code="c", message="m")
        return Outcome(index, OutcomeKind.FAILED, record)

    groups = [(lost, [answered(i) for i in (1, 0)]), (kept, [answered(i) for i in (6, 4, 7)])]
    outcomes = [o for _, group in groups for o in group]
    segment = await house.blobs.put_segment(
        segments_prefix(batch.id), [(o.index, o.record) for o in outcomes]
    )
    await store.settle([Settlement(batch.seq, segment, groups)], now=2)

    whole, rest = await results(house, batch), await errors(house, batch, "?after_line=1")

    assert (numbers(whole.body), whole.headers["X-Last-Line"]) == ([4, 6, 7], "3")
    assert numbers(rest.body) == [4, 7]


async def test_the_finish_index_is_named_as_long_as_one_result_file_is(house, upstream):
    """It is neither an orphan nor garbage until both files are gone."""
    upstream.script = hold(failing={1})
    batch = await house.submit(3)
    async with house.running():
        ended = await house.ended(batch)
    key = finish_index_key(batch.id)

    async def is_deletable():
        return await house.store.note_unnamed([key], now=10, first_seen_before=10) == [key]

    spared = [await is_deletable()]
    await house.store.delete_file(ended.output_file_id)
    spared.append(await is_deletable())
    await house.store.delete_file(ended.error_file_id)

    assert await house.blobs.size(key) == 3 * 16
    assert spared == [False, False]
    assert key in await house.store.garbage(limit=10)
