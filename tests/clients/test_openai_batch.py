"""openai-batch (Parasail's client), from its own environment, against the real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from echoes import CHAT, ODD, REFUSAL, chat_line, compare, jsonl
from installed import KEY, facts_of, run_client

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first of them installs them all

SCRIPT = Path(__file__).parent / "outside" / "openai_batch_calls.py"


def chat(prompt):
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


BODIES = {
    "chat": [chat(prompt) for prompt in ODD.values()],
    "embeddings": [{"model": "m", "input": "x" * n} for n in range(1, 5)],
    "score": [{"model": "m", "text_1": "q", "text_2": ["a" * n, "b"]} for n in range(1, 5)],
    "refused": [chat("fine"), chat("REFUSE")],
}
URLS = {"chat": CHAT, "embeddings": "/v1/embeddings", "score": "/v1/score"}


@pytest.fixture(scope="session")
def seen(outside, locked, tmp_path_factory):
    """What openai-batch saw in each scenario."""
    folder = tmp_path_factory.mktemp("openai-batch")
    for name, bodies in BODIES.items():
        (folder / f"{name}.json").write_text(json.dumps(bodies))
    (folder / "resumed.jsonl").write_bytes(jsonl([chat_line("w", "WAIT")]))
    (folder / "command.jsonl").write_bytes(jsonl(numbered(BODIES["chat"])))
    done = run_client(
        *(outside, SCRIPT, f"{locked.url}/v1", folder), cwd=folder, CLIENT_TEST_KEY=KEY
    )
    return facts_of(done)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def numbered(bodies, url=CHAT):
    """The requests that openai-batch makes of bodies."""
    return [
        {"custom_id": f"line-{n}", "method": "POST", "url": url, "body": body}
        for n, body in enumerate(bodies, 1)
    ]


@pytest.mark.parametrize("kind", URLS)
def test_openai_batch_goes_round_as_advertised(seen, kind):
    """Requests added one by one, then submit_wait_download: every line compared."""
    saw, url = seen[kind], URLS[kind]

    assert saw["batch"]["status"] == saw["statuses"][-1] == "completed"
    assert saw["batch"]["endpoint"] == url
    assert saw["batch"]["metadata"] == {"by": "openai-batch"}
    assert saw["errors"] is None
    compare(lines(saw["output"]), numbered(BODIES[kind], url))


def test_openai_batch_downloads_refused_lines(seen):
    """Both files are downloaded; the refused line has the server's answer."""
    saw = seen["refused"]

    compare(lines(saw["output"]), numbered(BODIES["refused"][:1]))
    (error,) = lines(saw["errors"])
    assert error["custom_id"] == "line-2"
    assert error["response"]["body"] == {"error": REFUSAL}


def test_openai_batch_picks_a_cancelled_batch_up_by_id(seen):
    """It is seen to be cancelled, and what there is of an error file is downloaded."""
    saw = seen["resumed"]

    assert saw["batch"]["status"] == "cancelled"
    assert saw["output"] is None
    assert len(lines(saw["errors"] or "")) == saw["batch"]["request_counts"]["total"]


def test_the_command_of_openai_batch_creates_and_resumes(seen):
    """`python -m openai_batch.run` with --create, later with --resume, writes the output."""
    saw = seen["command"]

    assert saw["batch"]["status"] == "completed"
    compare(lines(saw["output"]), numbered(BODIES["chat"]))
