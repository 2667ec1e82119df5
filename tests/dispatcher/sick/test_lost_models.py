"""A model that goes away while its batch runs is news about servers; only one that stays away fails lines."""

from __future__ import annotations

from scripted import error
from sickbed import LINES, lines, sends, until_said, well
from waiting import until

_SHORT = {"model_grace_s": 0.001}
"""The shortest: no test waits for a grace to be over."""


def serving(server):
    """Return a script that answers for the models that the server lists, and denies all others."""
    answer = well()

    def script(body, attempt):
        if body["model"] in server.models:
            return answer(body, attempt)
        return error(404, f"The model `{body['model']}` does not exist.")

    return script


async def test_lines_wait_while_an_adapter_is_unloaded(bench, upstream):
    """One server, whose adapter goes away while lines are in flight: none of them fails."""
    upstream.models = ["m", "adapter"]
    upstream.script = serving(upstream)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running():
        await until(lambda: bench.has_finished(batch, 100))
        upstream.models = ["m"]
        await until_said(bench, "serves adapter")
        waiting = await bench.store.get_batch(batch.id)
        upstream.models = ["m", "adapter"]
        ended = await bench.ended(batch)

    assert waiting.counts.finished < 2000
    assert (ended.counts.completed, ended.counts.failed) == (2000, 0)


async def test_others_go_on_while_an_adapter_is_unloaded(bench, upstream):
    """A batch for what the same server serves runs meanwhile."""
    upstream.models = ["m", "adapter"]
    upstream.script = serving(upstream)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running():
        await until(lambda: bench.has_finished(batch, 100))
        upstream.models = ["m"]
        await until_said(bench, "serves adapter")
        other = await bench.ended(await bench.submit(lines()))
        upstream.models = ["adapter"]
        ended = await bench.ended(batch)

    assert (other.counts.completed, ended.counts.failed) == (LINES, 0)


async def test_lines_go_where_the_model_still_is(bench, fleet):
    """It was unloaded on one of two servers: that one hears of hardly any line more."""
    for server in (fleet.sick, fleet.well):
        server.models = ["m", "adapter"]
        server.script = serving(server)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running(**fleet.settings, max_attempts=1):
        await until(lambda: bench.has_finished(batch, 100))
        fleet.sick.models = ["m"]
        before = sends(fleet.sick)
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (2000, 0)
    assert sends(fleet.sick) - before <= 40


async def test_a_list_of_models_is_read_again_at_once(bench, upstream):
    """A server that denies a model is asked what it serves, long before its list would be due."""
    upstream.models = ["m", "adapter"]
    upstream.script = serving(upstream)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running(probe_interval_s=0.2):
        await until(lambda: bench.has_finished(batch, 100))
        looks, asked = upstream.health_asked, upstream.models_asked
        upstream.models = ["m"]
        await until(lambda: upstream.models_asked > asked)

        assert upstream.health_asked - looks <= 3
        upstream.models = ["m", "adapter"]
        await bench.ended(batch)


async def test_a_model_that_stays_away_fails_its_lines(bench, upstream):
    """Its server denies it for longer than the grace. What was answered stays answered."""
    upstream.models = ["m", "adapter"]
    upstream.script = serving(upstream)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running(**_SHORT):
        await until(lambda: bench.has_finished(batch, 100))
        upstream.models = ["m", "n"]
        ended = await bench.ended(batch)

    await _assert_gone(bench, ended)


async def test_a_server_that_came_back_with_another_model_fails_lines_too(bench, upstream):
    """No line has to be denied for that: its list says enough."""
    upstream.models = ["adapter"]
    upstream.script = well()
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running(**_SHORT):
        await until(lambda: bench.has_finished(batch, 100))
        await upstream.die()
        await until_said(bench, "does not accept")
        upstream.models = ["m", "n"]
        await upstream.listen()
        ended = await bench.ended(batch)

    await _assert_gone(bench, ended, served="m, n")


async def _assert_gone(bench, ended, *, served="m"):
    _, errors = await bench.results(ended)
    assert ended.counts.completed >= 100
    assert ended.counts.failed == len(errors) > 0
    for line in errors:
        refused = line["response"]["body"]["error"]
        assert (line["response"]["status_code"], refused["code"]) == (404, "model_not_found")
        missing, _, listed = refused["message"].partition("Served")
        assert "adapter" in missing
        assert served in listed
        assert "adapter" not in listed


async def test_no_grace_runs_while_no_server_lives(bench, upstream):
    """Who is away may come back with the model: its lines wait, however short the grace."""
    upstream.models = ["adapter"]
    upstream.script = serving(upstream)
    batch = await bench.submit(lines(2000, model="adapter"))
    async with bench.running(**_SHORT):
        await until(lambda: bench.has_finished(batch, 100))
        await upstream.die()
        await until_said(bench, "does not accept")
        await upstream.listen()
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (2000, 0)


async def test_a_mixed_batch_waits_only_with_the_lines_concerned(bench, upstream):
    """Two models in one file; one of them goes away and comes back."""
    upstream.models = ["m", "adapter"]
    upstream.script = serving(upstream)
    mixed = [*lines(500).split("\n"), *lines(500, first=500, model="adapter").split("\n")]
    batch = await bench.submit("\n".join(mixed))
    async with bench.running():
        await until(lambda: bench.has_finished(batch, 50))
        upstream.models = ["m"]
        await until(lambda: bench.has_finished(batch, 500))
        upstream.models = ["m", "adapter"]
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (1000, 0)
