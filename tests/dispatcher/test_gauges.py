"""A /metrics page is foreign text: read by the format's own parser, or not at all."""

from __future__ import annotations

import pytest

from dispatcher.probing.gauges import Gauges, engine_mark, read_gauges

PAGE = """# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0 1700000000000
vllm:num_requests_waiting{engine="0",model_name="a b{c}"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e+03
vllm:generation_tokens_total{engine="1",model_name="m"} 500
vllm:num_requests_waiting NaN
process_cpu_seconds_total 12
"""


def test_figures_are_summed_over_engines_and_the_fullest_cache_counts():
    """One address may hold several engines; a timestamp is no figure."""
    assert read_gauges(PAGE) == Gauges(running=5, waiting=1, kv_cache_ratio=0.5, tokens=2000)


def test_a_page_without_vllm_has_no_figures():
    """Other servers are still usable."""
    assert read_gauges("up 1\n") == read_gauges("") == Gauges()


def test_only_what_waits_for_room_counts_where_the_reason_is_told():
    """What is deferred for an adapter or a transfer gets no sooner done with fewer requests."""
    name = "vllm:num_requests_waiting_by_reason"
    reasons = f'{name}{{reason="capacity"}} 2\n{name}{{reason="deferred"}} 7\n'

    assert read_gauges(PAGE + reasons).waiting == 2


BROKEN = {
    "cut in a name": "vllm:num_requests_running",
    "cut in the labels": 'vllm:num_requests_running{engine="0',
    "cut before the value": 'vllm:num_requests_running{engine="0"} ',
    "no number": 'vllm:num_requests_waiting{engine="0"} many',
    "two points": "vllm:kv_cache_usage_perc 0..5",
    "label without quotes": "vllm:generation_tokens_total{engine=0} 7",
    "control bytes": "vllm:num_requests_running \x00\x01",
    # The parser reads these, and takes seconds.
    "long labels": "vllm:num_requests_running{"
    + "".join(map('a{}="",'.format, range(20_000)))[:-1]
    + "} 1",
    "long quotes": 'vllm:num_requests_running{a="' + '\\"' * 100_000 + '"} 1',
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named(line):
    """The reason on the dashboard begins with it."""
    with pytest.raises(ValueError, match="vllm:"):
        read_gauges(PAGE + line)


def test_a_page_of_too_many_engines_is_not_read():
    """Each line takes the event loop some microseconds."""
    with pytest.raises(ValueError, match="vllm: lines hold more than"):
        read_gauges('vllm:num_requests_running{engine="0"} 1\n' * 100_000)


@pytest.mark.parametrize("value", ["-5", "1e999", "1e300", "NaN", "+Inf"])
def test_figures_that_cannot_be_are_left_out(value):
    """They would be shown, and steer how much is sent."""
    assert read_gauges(f"vllm:num_requests_running {value}") == Gauges()


def test_broken_lines_of_other_families_are_nobodys_affair():
    """Nothing is read of them."""
    assert read_gauges(PAGE + "vllm:other{a=\nhttp_x{ 1 2 3\n").running == 5


def test_the_mark_changes_with_anything_the_engine_says():
    """A hang is told by it."""
    assert engine_mark(PAGE) == engine_mark(PAGE + "up 1\n")
    assert engine_mark(PAGE) != engine_mark(PAGE.replace("1.5e+03", "1501"))
    assert engine_mark("up 1\n") is None
