"""Handlers of results: what they get, and what becomes of their deliveries."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from batchline.states import BatchStatus
from batchline.webhooks.patience import GIVEN_UP_AFTER_S
from batchline.webhooks.records import Ask, DeliveryState
from deliver.handling.attempts import MOST_DEATHS

PENDING, DELIVERED, GIVEN_UP = DeliveryState


def writing(path, body, **attributes):
    """The code of a handler that appends to a file: `note(*words)` writes a line."""
    stated = "".join(f"\n    {name} = {value!r}" for name, value in attributes.items())
    indented = textwrap.indent(textwrap.dedent(body).strip(), 8 * " ")
    return f"""
import asyncio, os, select, signal, socket, sys

def note(*words):
    with open({str(path)!r}, "a") as file:
        print(*words, file=file)

def noted():
    return open({str(path)!r}).read().count("\\n") if os.path.exists({str(path)!r}) else 0

@register_handler
class Mine:
    name = "mine"{stated}

    async def handle(self, batch, results, context):
{indented}
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


async def test_a_handler_gets_each_result_of_a_batch_in_order(make_handlers, out):
    """With what the model said, and what went wrong."""
    bench = await make_handlers(
        writing(
            out, "async for one in results: note(one.index, one.custom_id, one.text, one.error)"
        )
    )
    await bench.completed(5, failed=[1], refused=[3])

    await bench.round()

    delivery = await bench.delivery()
    assert (delivery.state, delivery.last_error) == (DELIVERED, None)
    assert (delivery.ask, delivery.handler, delivery.lines_done) == (Ask.SETTING, "mine", 5)
    assert out.read_text().splitlines() == [
        "0 c0 answer 0 None",
        "1 c1 None ('server_error', 'it died')",
        "2 c2 answer 2 None",
        "3 c3 None ('400', 'too long')",
        "4 c4 answer 4 None",
    ]


async def test_results_bring_their_requests_to_those_who_ask(make_handlers, out):
    """More of them than one piece holds."""
    code = """
        async for chunk in results.chunks(300):
            for one in chunk: note(one.custom_id, one.request["messages"][0]["content"])
    """
    bench = await make_handlers(writing(out, code, wants_requests=True))
    await bench.completed(1000, failed=range(0, 1000, 7))

    await bench.round()

    assert out.read_text().splitlines() == [f"c{i} question {i}" for i in range(1000)]


async def test_a_handler_is_told_the_batch_and_its_settings(make_handlers, out):
    """The key is the same in each attempt, and another for another batch."""
    code = """
        note(batch.id, batch.status, batch.metadata, batch.total, batch.failed, context.settings)
        note(context.idempotency_key, context.attempt)
        if context.attempt == 1: raise ConnectionError("away")
    """
    sections = {"mine": {"deep": ["${UNSET:-none}"], "url": "${WHERE}"}}
    bench = await make_handlers(
        writing(out, code), sections=sections, environment={"WHERE": "there", "PATH": "/bin"}
    )
    batch = await bench.completed(2, metadata={"team": "a"})
    await bench.round()
    first = await bench.delivery()
    await bench.spend(10)

    event = first.event.id
    told = f"{batch.id} completed {{'team': 'a'}} 2 0 {{'deep': ['none'], 'url': 'there'}}"
    assert out.read_text().splitlines() == [told, f"{event} 1", told, f"{event} 2"]
    assert first.state is PENDING
    assert first.last_error == "The handler failed: ConnectionError: away"
    assert (await bench.delivery()).state is DELIVERED


async def test_an_attempt_goes_on_from_the_last_checkpoint(make_handlers, out):
    """What was handled is not given again; what it kept is. One that got further is tried again soon."""
    code = """
        note("from", context.start, context.state)
        async for chunk in results.chunks(10):
            note(*(one.index for one in chunk))
            await context.checkpoint({"at": chunk[-1].index})
            if len(chunk) == 10 and chunk[-1].index in (9, 29): raise OSError("away")
    """
    bench = await make_handlers(writing(out, code))
    await bench.completed(35)

    await bench.round()
    after_one = await bench.delivery()
    await bench.spend(10)

    told = [line.split() for line in out.read_text().splitlines()]
    assert [line[1:] for line in told if line[0] == "from"] == [
        ["0", "None"],
        ["10", "{'at':", "9}"],
        ["30", "{'at':", "29}"],
    ]
    indexes = [int(word) for line in told if line[0] != "from" for word in line]
    assert indexes == list(range(35))
    assert (after_one.lines_done, (await bench.delivery()).lines_done) == (10, 35)
    assert (await bench.delivery()).state is DELIVERED


async def test_the_plain_form_gets_a_list_and_returns_whether_it_is_done(make_handlers, out):
    """`handle(batch_id, results, metadata) -> bool`; `name` and `enabled` may be methods."""
    code = f"""
        class Plain:
            def name(self): return "plain"
            def enabled(self): return True
            def handle(self, batch_id, results, metadata):
                with open({str(out)!r}, "a") as file:
                    print(batch_id, len(results), metadata, file=file)
                    for r in results:
                        print(r["custom_id"], (r["response"] or {{}}).get("status_code"), file=file)
                    print(results[-1]["error"], [r["id"] for r in results[:2]], file=file)
                with open({str(out)!r}) as file:
                    return file.read().count(batch_id) > 1
        register_handler(Plain())
    """
    bench = await make_handlers(code)
    batch = await bench.completed(3, failed=[2], metadata={"k": "v"})

    await bench.round()
    refused = await bench.delivery()
    await bench.spend(10)

    assert (refused.state, refused.last_error) == (
        PENDING,
        "The handler failed: RuntimeError: it returned False",
    )
    assert (await bench.delivery()).state is DELIVERED
    lines = out.read_text().splitlines()
    assert lines[:4] == [f"{batch.id} 3 {{'k': 'v'}}", "c0 200", "c1 200", "c2 None"]
    assert "it died" in lines[4]
    assert lines[:5] == lines[5:]


DEATHS = {
    "raises at once": ("raise ValueError('no')", "ValueError: no"),
    "exits": ("os._exit(3)", "it ended with exit code 3"),
    "crashes": ("os.kill(os.getpid(), 11)", "it was ended by signal 11"),
    "writes rubbish": (
        """
        for n in map(int, os.listdir("/proc/self/fd")):
            if os.path.exists(f"/proc/self/fd/{n}") and n > 2:
                try: socket.socket(fileno=os.dup(n)).send(b"x" * 1000)
                except OSError: pass
        await results.__anext__()
        """,
        "it wrote what is no message to the deliverer",
    ),
    "leaks": ("hoard = bytearray(400_000_000); signal.pause()", "its limit is 100 MiB"),
    "leaks in a child": (
        """
        import subprocess
        leak = "hoard = bytearray(400_000_000); import signal; signal.pause()"
        subprocess.run([sys.executable, "-c", leak])
        """,
        "its limit is 100 MiB",
    ),
    "sleeps": ("await asyncio.Event().wait()", "it took longer than 3 s, its limit"),
    "sleeps in C": ("signal.pause()", "it took longer than 3 s, its limit"),
    "reads nothing": ("while True: pass", "it took longer than 3 s, its limit"),
    "gives up": (
        "from batchline.handlers import GiveUp; raise GiveUp('wrong table')",
        "wrong table",
    ),
}


@pytest.mark.parametrize("kind", DEATHS)
async def test_a_handler_that_fails_is_told_and_the_next_one_runs(make_handlers, out, kind):
    """Whatever it does, its delivery says why, and another handler gets the batch."""
    body, why = DEATHS[kind]
    code = (
        writing(out, body)
        + f"""
@register_handler
class Other:
    name = "other"
    async def handle(self, batch, results, context):
        open({str(out)!r}, "a").write("other\\n")
"""
    )
    sections = {"mine": {"limits": {"seconds": 3, "memory_bytes": 100 << 20}}, "other": {}}
    bench = await make_handlers(code, sections=sections)
    await bench.completed(300)

    await bench.round()

    by_name = {one.handler: one for one in await bench.deliveries()}
    assert why in by_name["mine"].last_error
    assert by_name["mine"].state is (GIVEN_UP if kind == "gives up" else PENDING)
    assert by_name["other"].state is DELIVERED
    assert out.read_text() == "other\n"


async def test_what_a_handler_leaves_behind_is_ended(make_handlers, out):
    """Also what became a session of its own, and what forks for ever."""
    code = """
        for number in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True:
                        note(os.getpid())
                        select.select([], [], [], 0.05)
                        if number and os.fork(): os._exit(0)
                os._exit(0)
        while noted() < 9: select.select([], [], [], 0.05)
    """
    bench = await make_handlers(writing(out, code))
    await bench.completed(1)

    await bench.round()

    pids = set(map(int, out.read_text().split()))
    assert pids
    assert [pid for pid in pids if is_alive(pid)] == []
    assert (await bench.delivery()).state is DELIVERED


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_batch_on_which_its_handler_dies_again_and_again_is_given_up(make_handlers, out):
    """After a few deaths without progress; other batches are handled."""
    code = """
        note(batch.metadata["name"])
        if batch.metadata["name"] == "bad": os._exit(1)
    """
    bench = await make_handlers(writing(out, code))
    await bench.completed(1, metadata={"name": "bad"})
    await bench.completed(1, metadata={"name": "good"})

    await bench.spend(600, every_s=30)

    assert [one.state for one in await bench.deliveries()] == [GIVEN_UP, DELIVERED]
    assert out.read_text().split().count("bad") == MOST_DEATHS
    assert out.read_text().split().count("good") == 1


async def test_a_target_that_is_away_is_tried_for_72_hours(make_handlers, out):
    """As receivers of webhooks are."""
    bench = await make_handlers(writing(out, "raise ConnectionError('away')"))
    await bench.completed(1)
    await bench.round()

    bench.clock.advance(GIVEN_UP_AFTER_S - 60)
    await bench.round()
    before = await bench.delivery()
    bench.clock.advance(3600)
    await bench.round()

    assert (before.state, before.attempts) == (PENDING, 2)
    assert (await bench.delivery()).state is GIVEN_UP


async def test_a_section_says_which_batches_its_handler_gets(make_handlers, out, make_batch):
    """By status and by metadata; one that failed has no results and is never handed out."""
    sections = {"mine": {"when": {"status": ["completed"], "metadata": {"team": "a"}}}}
    bench = await make_handlers(writing(out, "note(batch.id)"), sections=sections)
    wanted = await bench.completed(1, metadata={"team": "a", "x": "y"})
    await bench.completed(1, metadata={"team": "b"})
    await bench.completed(1)
    failed = await bench.ended(metadata={"team": "a"})

    await bench.round()

    assert (await bench.store.get_batch(failed.id)).status is BatchStatus.FAILED
    assert out.read_text().split() == [wanted.id]


async def test_a_replay_gives_all_results_again_under_the_same_key(make_handlers, out):
    """Whatever became of it."""
    code = """
        async for one in results: note(context.idempotency_key, one.index)
        await context.checkpoint()
    """
    bench = await make_handlers(writing(out, code))
    await bench.completed(2)
    await bench.round()
    first = out.read_text()

    replayed = await bench.store.replay_delivery(
        (await bench.delivery()).number, now=int(bench.clock.now())
    )
    await bench.round()

    assert (replayed.state, replayed.lines_done) == (PENDING, 0)
    assert out.read_text() == first * 2


async def test_results_that_are_gone_are_told(make_handlers, out):
    """Nothing will bring them back."""
    bench = await make_handlers(writing(out, "async for one in results: pass"))
    batch = await bench.completed(2)
    await bench.store.delete_file(batch.output_file_id)

    await bench.round()

    delivery = await bench.delivery()
    assert delivery.state is GIVEN_UP
    assert f"The results of {batch.id} are gone" in delivery.last_error
