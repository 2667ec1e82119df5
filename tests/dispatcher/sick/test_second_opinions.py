"""A server's word that a line is bad counts once another one agrees: a sick server's 400s cost no line."""

from __future__ import annotations

import pytest
from scripted import HANG, error
from sickbed import FEW, LINES, lines, sends, until_said, well
from waiting import until

FEW_OPINIONS = 10
"""Second sends of one kind of refusal, however many lines are refused."""
REFUSALS = {
    "too long": (400, "This model's maximum context length is {n} tokens, and you asked for 4096."),
    "unprocessable": (422, "[{n}] is not of type 'string'"),
    "no tools": (400, "'auto' tool choice requires --enable-auto-tool-choice ({n})"),
    "not implemented": (501, "Request {n} needs what is not implemented."),
}
refusals = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)


def refusing(refusal, *, which=lambda number: True):
    """Return a script that refuses these lines; the text differs from line to line."""
    status, message = refusal
    answer = well()

    def script(body, attempt):
        number = int(body.get("tag", "t0")[1:])
        if which(number):
            return error(status, message.format(n=number))
        return answer(body, attempt)

    return script


def is_third(number):
    return number % 3 == 0


@refusals
async def test_what_one_server_alone_refuses_is_answered_by_another(bench, fleet, refusal):
    """It refuses everything: after a few lines it gets no more."""
    fleet.sick.script, fleet.well.script = refusing(refusal), well()
    batch = await bench.submit(lines())
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
    assert sends(fleet.sick) <= FEW


@refusals
async def test_what_one_server_refuses_of_many_costs_no_line(bench, fleet, refusal):
    """A mixed fleet: one server takes shorter prompts than the other, and answers the rest."""
    fleet.sick.script, fleet.well.script = refusing(refusal, which=is_third), well()
    batch = await bench.submit(lines())
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)


@refusals
async def test_what_both_refuse_fails_with_few_second_sends(bench, fleet, refusal):
    """The lines are at fault: most of them are sent once, and the servers' words are their result."""
    for server in (fleet.sick, fleet.well):
        server.script = refusing(refusal, which=is_third)
    batch = await bench.submit(lines(600))
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    _, errors = await bench.results(ended)
    assert (ended.counts.completed, ended.counts.failed) == (400, 200)
    assert {line["response"]["status_code"] for line in errors} == {refusal[0]}
    assert [line["custom_id"] for line in errors] == [f"id-{n}" for n in range(600) if is_third(n)]
    assert sends(fleet.sick) + sends(fleet.well) - 600 <= FEW_OPINIONS


@refusals
async def test_one_server_has_the_only_opinion(bench, upstream, refusal):
    """Nobody else can be asked: what it refuses fails at once, each line sent once."""
    upstream.script = refusing(refusal, which=is_third)
    batch = await bench.submit(lines())
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.counts.failed == sum(map(is_third, range(LINES)))
    assert sends(upstream) == LINES


async def test_each_kind_of_refusal_is_settled_by_itself(bench, fleet):
    """Two kinds that both servers refuse, and one that only one of them does."""
    kinds = list(REFUSALS.values())

    def script(is_sick):
        answers = [refusing(kind) for kind in kinds[:2]]
        answers.append(refusing(kinds[2]) if is_sick else well())

        def answer(body, attempt):
            return answers[int(body.get("tag", "t2")[1:]) % 3](body, attempt)

        return answer

    fleet.sick.script, fleet.well.script = script(is_sick=True), script(is_sick=False)
    batch = await bench.submit(lines(150))
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    output, _ = await bench.results(ended)
    assert [line["custom_id"] for line in output] == [f"id-{n}" for n in range(150) if n % 3 == 2]


async def test_what_another_server_answers_waits_for_it_while_it_is_gone(bench, fleet):
    """It is known that the one that is left is the odd one: no line fails by its word."""
    answer, numbers = well(), set()

    def answers_some(body, attempt):
        numbers.update({int(body["tag"][1:])} if is_third(int(body["tag"][1:])) else ())
        return answer(body, attempt) if len(numbers) < 5 else HANG

    fleet.sick.script = refusing(REFUSALS["too long"], which=is_third)
    fleet.well.script = answers_some
    batch = await bench.submit(lines())
    async with bench.running(**fleet.settings, max_attempts=1, max_in_flight=8):
        await until(lambda: len(numbers) >= 5)
        await fleet.well.die()
        await until_said(bench, "refused it, and no other backend is in service")
        fleet.well.script = answer
        fleet.well.release.set()  # a connection that was just being made may have lived
        await fleet.well.listen()
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
