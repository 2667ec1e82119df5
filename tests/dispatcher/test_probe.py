"""The probe: what each backend says, read from real answers."""

from __future__ import annotations

import time

from scripted import Scripted

from dispatcher.probe import Probe


async def test_a_backend_is_alive_while_it_is_healthy(upstream):
    """Health decides; the reason is in words; models are read."""
    async with Probe([upstream.url, "http://127.0.0.1:9"], api_key=None, clock=time.time) as probe:
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
            async with Probe([one.url, other.url], api_key=None, clock=time.time) as probe:
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
    async with Scripted() as server, Probe([server.url], api_key=None, clock=time.time) as probe:
        server.health = 503
        await probe.look()
        server.health = 200

        assert await probe.served() is None
