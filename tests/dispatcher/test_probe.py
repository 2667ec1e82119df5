"""The probe: what each backend says, read from real answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web
from scripted import HANG, Scripted
from shortage import none_left

from batchline.clock import Clock
from dispatcher.probing.probe import Probe


async def test_a_backend_is_alive_while_it_is_healthy(upstream):
    """Health decides; the reason is in words; models are read."""
    async with Probe([upstream.url, "http://127.0.0.1:9"], api_key=None, clock=Clock()) as probe:
        good, dead = await probe.look()
        upstream.health = 503
        sick, _ = await probe.look()

    assert (good.alive, good.models, good.running) == (True, ("m",), None)
    assert (dead.alive, dead.reason) == (False, "does not accept connections")
    assert (sick.alive, sick.reason) == (False, "answers 503")


async def test_served_is_known_only_when_every_backend_is_alive_and_lists_models():
    """One that is down, or says nothing of its models, leaves it open what would be served."""
    async with Scripted() as one, Scripted() as other:
        one.models, other.models = ["m"], ["n", "adapter"]

        async def served():
            async with Probe([one.url, other.url], api_key=None, clock=Clock()) as probe:
                return await probe.served()

        assert await served() == {"m", "n", "adapter"}
        other.models = None
        assert await served() is None
        other.models, other.health = ["n"], 503
        assert await served() is None
        other.health = 200
        assert await served() == {"m", "n"}
        await other.vanish()
        assert await served() is None


async def test_a_backend_last_seen_dead_is_not_asked_again():
    """Admission does not wait for a server that hangs; the next look tells when it is back."""
    async with Scripted() as server, Probe([server.url], api_key=None, clock=Clock()) as probe:
        server.health = 503
        await probe.look()
        server.health = 200

        assert await probe.served() is None


async def test_a_shortage_of_our_own_changes_nothing_that_was_seen(upstream):
    """Without a file descriptor nobody can be asked: that is no server's death."""
    async with Probe([upstream.url], api_key=None, clock=Clock()) as probe:
        await probe.look()
        await upstream.die()
        await upstream.listen()
        with none_left():
            [seen] = await probe.look()
            served = await probe.served()
        [after] = await probe.look()

    assert (seen.alive, seen.is_stale, seen.reason) == (True, True, None)
    assert served is None
    assert (after.alive, after.is_stale) == (True, False)


_RUNNING = 'vllm:num_requests_running{engine="0"} 3.0\n'
_BOUND_S = 60.0
"""Far more than it takes until an answer is given up."""


async def broken_off(request):
    """Break off in the middle of a page."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    request.transport.abort()
    return response


async def until(probe, is_seen):
    """Look until this is seen of the only backend's liveness; return it."""
    async with asyncio.timeout(_BOUND_S):
        while True:
            await probe.look()
            (liveness,) = probe.liveness_of.values()
            if is_seen(liveness):
                return liveness


async def test_an_answer_about_its_health_ends_a_silence(upstream):
    """Also where its metrics never come: of its engine nothing is known then, neither good nor bad."""
    upstream.metrics = _RUNNING
    async with Probe([upstream.url], api_key=None, clock=Clock()) as probe:
        told = await until(probe, lambda liveness: liveness.engine is not None)
        upstream.health = HANG
        await until(probe, lambda liveness: liveness.silent_since is not None)
        upstream.health, upstream.metrics = 200, broken_off
        answered = await until(probe, lambda liveness: liveness.silent_since is None)

    assert answered == told


async def test_what_is_late_is_told_as_it_was_and_as_stale(upstream):
    """Late metrics, and late health: the figures are those that came last."""
    upstream.metrics = _RUNNING
    async with Probe([upstream.url], api_key=None, clock=Clock()) as probe:
        (fresh,) = await probe.look()
        upstream.metrics = broken_off
        (late,) = await probe.look()
        upstream.metrics = _RUNNING
        (again,) = await probe.look()
        upstream.health = HANG
        (pending,) = await probe.look()
        await until(probe, lambda liveness: liveness.silent_since is not None)

        assert probe.last_alive(fresh.name) is again
        assert probe.last_alive("nobody") is None
    assert [one.is_stale for one in (fresh, late, again, pending)] == [False, True, False, True]
    assert [one.running for one in (fresh, late, again, pending)] == [3] * 4
    assert pending == replace(again, is_stale=True)


async def test_a_server_below_a_path_is_asked_there():
    """Health, models and metrics, under a name that tells it from others of its host."""
    async with Scripted(path="/team/llm") as server:
        server.metrics = _RUNNING
        async with Probe([server.url], api_key=None, clock=Clock()) as probe:
            (seen,) = await probe.look()

    assert (seen.alive, seen.models, seen.running) == (True, ("m",), 3)
    assert seen.name == f"127.0.0.1:{server.port}/team/llm"
    assert list(probe.liveness_of) == [seen.name]


async def test_a_look_that_breaks_is_a_dead_backend_and_no_end_of_looking(upstream, caplog):
    """Whatever breaks in it is told; the next look sees the server again."""
    async with Probe([upstream.url], api_key=None, clock=Clock()) as probe:
        memory = probe._memory[upstream.url]
        liveness, memory.liveness = memory.liveness, None
        (broken,) = await probe.look()
        memory.liveness = liveness
        (well,) = await probe.look()

    assert (broken.alive, broken.reason) == (False, "cannot be looked at: AttributeError")
    assert well.alive
    assert "broke" in caplog.text


async def test_counters_that_fall_are_a_server_that_started_anew(upstream):
    """They tell no speed, and its models are asked for at the same look."""
    async with Probe([upstream.url], api_key=None, clock=Clock()) as probe:
        upstream.metrics = _tokens(5000)
        await probe.look()
        upstream.metrics = _tokens(9000)
        (fast,) = await probe.look()
        upstream.metrics = _tokens(10)
        (anew,) = await probe.look()

    assert fast.output_tokens_per_s > 0
    assert anew.output_tokens_per_s is None


def _tokens(many):
    return _RUNNING + f'vllm:generation_tokens_total{{model_name="m"}} {many}\n'
