"""Uses openai-batch against a server; a script of its own, since it has its own environment.

Usage: openai_batch_calls.py BASE_URL FOLDER; the folder holds SCENARIO.json, a list of request bodies, or
SCENARIO.jsonl, an input file. Prints what each scenario saw, as one line of JSON.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import openai_batch
from openai_batch.batch import FINISHED_STATES
from openai_batch.providers import Provider
from openai_batch.run import main as run
from waiting import wait_until


def provider(url: str) -> Provider:
    key = os.environ["CLIENT_TEST_KEY"]
    return Provider(name="here", base_url=url, api_key=key, requires_consistency=False)


def text_of(path: Path | None) -> str | None:
    return Path(path).read_text("utf-8") if path else None


def advertised(url: str, place: Path) -> Any:
    """As its README says: add request by request, submit_wait_download."""
    made = openai_batch.Batch(
        submission_input_file=place.with_suffix(".in"),
        output_file=place.with_suffix(".out"),
        error_file=place.with_suffix(".err"),
        provider=provider(url),
    )
    statuses: list[str] = []
    with made as batch:
        for body in json.loads(place.with_suffix(".json").read_text("utf-8")):
            batch.add_to_batch(**body)
        ended, output, errors = batch.submit_wait_download(
            interval=0.1,
            status_callback=lambda b: statuses.append(b.status),
            metadata={"by": "openai-batch"},
        )
    return {
        "batch": json.loads(ended.model_dump_json()),
        "output": text_of(output),
        "errors": text_of(errors),
        "statuses": statuses,
    }


def resumed(url: str, place: Path) -> Any:
    """A ready file handed over as bytes, cancelled, and picked up again by its id alone."""
    with openai_batch.Batch(
        submission_input_file=place.with_suffix(".jsonl").read_bytes(), provider=provider(url)
    ) as batch:
        batch_id = batch.submit()
    provider(url).get_client().batches.cancel(batch_id)
    with openai_batch.Batch(
        batch_id=batch_id,
        output_file=place.with_suffix(".out"),
        error_file=place.with_suffix(".err"),
        provider=provider(url),
    ) as batch:
        ended = until_ended(batch)
        output, errors = batch.download()
    return {
        "batch": json.loads(ended.model_dump_json()),
        "output": text_of(output),
        "errors": text_of(errors),
    }


def command(url: str, place: Path) -> Any:
    """The command line twice: --create, and --resume once the batch has ended."""
    server = ("--base-url", url, "--api-key", os.environ["CLIENT_TEST_KEY"])
    created = run([str(place.with_suffix(".jsonl")), "--create", *server])
    with openai_batch.Batch(batch_id=created, provider=provider(url)) as batch:
        ended = until_ended(batch)
    output = place.with_suffix(".out")
    run(["--resume", created, "-o", str(output), *server])
    return {"batch": json.loads(ended.model_dump_json()), "output": text_of(output)}


def until_ended(batch: openai_batch.Batch) -> Any:
    def found() -> Any:
        shown = batch.status()
        return shown if shown.status in FINISHED_STATES else None

    return wait_until(found, every_s=0.1)


SCENARIOS = {
    "chat": advertised,
    "embeddings": advertised,
    "score": advertised,
    "refused": advertised,
    "resumed": resumed,
    "command": command,
}

if __name__ == "__main__":
    with redirect_stdout(io.StringIO()):  # it prints each status
        facts = {
            name: scenario(sys.argv[1], Path(sys.argv[2]) / name)
            for name, scenario in SCENARIOS.items()
        }
    print(json.dumps(facts))
