"""The probe: what each backend says, read from real answers."""

from __future__ import annotations

import time

from scripted import Scripted

from dispatcher.probe import Probe, read_gauges

PAGE = """# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="a b{c}"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e+03
vllm:num_requests_waiting_by_reason{reason="x"} 7.0
vllm:num_requests_waiting NaN
process_cpu_seconds_total 12
"""


def test_gauges_are_summed_over_engines_and_the_fullest_cache_counts():
    """A server may hold several engines."""
    assert read_gauges(PAGE) == {"running": 5, "waiting": 1, "kv": 0.5, "tokens": 1500}


def test_a_page_without_vllm_has_no_gauges():
    """Other servers are still usable."""
    assert read_gauges("") == {}


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
