"""What a backend's /metrics page says of its engines. Foreign text: read by the format's own parser.

Pure. Only the lines of the few families that are wanted are parsed: a page of vLLM has some thousand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_CAPACITY = "vllm:num_requests_waiting_by_reason"
_CACHE = "vllm:kv_cache_usage_perc"
_TOKENS = "vllm:generation_tokens_total"
_MOST = 1e15
"""A figure beyond it is nonsense."""
_LONGEST_LINE = 2048
_MOST_CHARACTERS = 1 << 18
"""Of all wanted lines: 400 engines have fewer. Parsing these takes a quarter of a second at most; one line of
1 MB took 27 s, since the parser needs quadratic time for each (measured)."""
_WANTED = re.compile(
    rf"[ \t]*(?:{'|'.join(map(re.escape, (_RUNNING, _WAITING, _CAPACITY, _CACHE, _TOKENS)))})(?![\w:])"
)


@dataclass(frozen=True, slots=True)
class Gauges:
    """Figures of one server, of all its engines together. None where it does not tell."""

    running: int | None = None
    waiting: int | None = None
    """Requests that wait for room: where vLLM tells why they wait, only those."""
    kv_cache_ratio: float | None = None
    """Of the fullest cache."""
    tokens: float | None = None
    """Output tokens since it started."""


def read_gauges(page: str) -> Gauges:
    """Read a page. Raises ValueError, whose text names the line, where it breaks the format."""
    wanted = [line for line in page.splitlines() if _WANTED.match(line)]
    if sum(map(len, wanted)) > _MOST_CHARACTERS:
        raise ValueError(f"its vllm: lines hold more than {_MOST_CHARACTERS} characters")
    found: dict[str, list[float]] = {}
    for line in wanted:
        for name, value in _samples(line):
            found.setdefault(name, []).append(value)
    tokens = found.get(_TOKENS)
    return Gauges(
        running=_total(found.get(_RUNNING)),
        waiting=_total(found.get(_CAPACITY, found.get(_WAITING))),
        kv_cache_ratio=max(found.get(_CACHE, ()), default=None),
        tokens=sum(tokens) if tokens else None,
    )


def engine_mark(page: str) -> int | None:
    """Return what stands for all that a page says of the engine; None if it says nothing."""
    lines = [line for line in page.splitlines() if line.startswith("vllm:")]
    return hash(tuple(lines)) if lines else None


def _samples(line: str) -> Iterator[tuple[str, float]]:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"{line[:80]!r}: longer than {_LONGEST_LINE} characters")
    try:
        families = list(text_string_to_metric_families(line + "\n"))
    except Exception as exc:  # the parser raises what it stumbles on
        raise ValueError(f"{line[:80]!r}: {exc}") from exc
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == _CAPACITY and sample.labels.get("reason") != "capacity":
            continue
        if 0 <= sample.value < _MOST:  # NaN is none of these
            yield sample.name, sample.value


def _total(values: list[float] | None) -> int | None:
    return int(sum(values)) if values else None
