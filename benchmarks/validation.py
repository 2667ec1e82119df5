"""How fast an input file is checked, beside the yardstick of the same run.

Run as `python -m benchmarks.validation [--megabytes 200] [--kilobytes 1]`. The yardstick reads the same
file, splits it into lines and decodes each with msgspec into Python objects, and nothing else. Prints
MB/s by CPU time and by the clock, the ratio, and what a file of broken lines costs. Admission adds
one row per 64 lines: `make bench` shows validation as a whole.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from batchline.jsonl.input_file import FileCheck, Limits
from batchline.jsonl.line_check import Rules

_CHUNK_BYTES = 1 << 20
_ENDPOINT = "/v1/chat/completions"
_LIMITS = Limits(lines=10_000_000, line_bytes=16 << 20, faults=200)
_RULES = Rules(_ENDPOINT, served=frozenset({"instant"}))
_TIMES = 3


def write_input(path: Path, *, megabytes: float, kilobytes: float, broken: bool = False) -> None:
    """Write chat lines of about `kilobytes` each; broken ones name another url."""
    text = 'The quick brown fox jumps over the "lazy" dog.\nGrüße! '
    content = text * max(1, int(kilobytes * 1000 / 62) - 3)
    size, number = 0, 0
    with path.open("wb") as file:
        while size < megabytes * 1e6:
            messages = [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": content},
            ]
            line = {
                "custom_id": f"request-{number}",
                "method": "POST",
                "url": "/v1/embeddings" if broken else _ENDPOINT,
                "body": {"model": "instant", "messages": messages, "max_tokens": 64},
            }
            size += file.write(json.dumps(line, ensure_ascii=bool(number % 2)).encode() + b"\n")
            number += 1


def chunks(path: Path) -> Iterator[bytes]:
    """Read the file as admission does."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def validate(path: Path) -> None:
    """Check the whole file."""
    check = FileCheck(1, _RULES, _LIMITS)
    for chunk in chunks(path):
        check.feed(chunk)
    check.finish()
    check.shared_marks()
    check.report()


def decode(path: Path) -> None:
    """Read, split and decode, nothing else."""
    tail = b""
    for chunk in chunks(path):
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            msgspec.json.decode(line)


def speed(work: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Return the best MB/s of a few runs: by CPU time, by the clock."""
    megabytes = path.stat().st_size / 1e6
    by_cpu = by_clock = 0.0
    for _ in range(_TIMES):
        started, cpu = time.perf_counter(), time.process_time()
        work(path)
        by_cpu = max(by_cpu, megabytes / (time.process_time() - cpu))
        by_clock = max(by_clock, megabytes / (time.perf_counter() - started))
    return by_cpu, by_clock


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--kilobytes", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batchline-bench-") as name:
        good, broken = Path(name) / "good.jsonl", Path(name) / "broken.jsonl"
        write_input(good, megabytes=options.megabytes, kilobytes=options.kilobytes)
        write_input(
            broken, megabytes=options.megabytes / 4, kilobytes=options.kilobytes, broken=True
        )
        decode_cpu, decode_clock = speed(decode, good)
        good_cpu, good_clock = speed(validate, good)
        broken_cpu, _ = speed(validate, broken)
    result = {
        "validate_mb_s_cpu": round(good_cpu),
        "validate_mb_s": round(good_clock),
        "yardstick_mb_s_cpu": round(decode_cpu),
        "yardstick_mb_s": round(decode_clock),
        "ratio_cpu": round(good_cpu / decode_cpu, 2),
        "broken_mb_s_cpu": round(broken_cpu),
    }
    for key, value in result.items():
        print(f"{key:>20}  {value:,}")


if __name__ == "__main__":
    main()
