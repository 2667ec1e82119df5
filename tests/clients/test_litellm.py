"""litellm's file and batch calls, from its own environment, against the real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from echoes import REFUSAL, chat_line, compare, jsonl, odd_lines
from installed import KEY, facts_of, run_client

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first of them installs them all

SCRIPT = Path(__file__).parent / "outside" / "litellm_calls.py"
MIXED = [*odd_lines(), chat_line("refused", "REFUSE")]


@pytest.fixture(scope="session")
def seen(outside, locked, tmp_path_factory):
    """What litellm saw in each scenario."""
    folder = tmp_path_factory.mktemp("litellm")
    for name in ("round_trip", "hosted_vllm"):
        (folder / f"{name}.jsonl").write_bytes(jsonl(MIXED))
    (folder / "blocking.jsonl").write_bytes(jsonl(odd_lines()))
    (folder / "cancel.jsonl").write_bytes(jsonl([chat_line("w", "WAIT")]))
    (folder / "bad_file.jsonl").write_bytes(b"nonsense\n")
    done = run_client(
        *(outside, SCRIPT, f"{locked.url}/v1", folder),
        cwd=folder,
        CLIENT_TEST_KEY=KEY,
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # else it asks the internet for prices
    )
    return facts_of(done)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("scenario", ["round_trip", "hosted_vllm"])
def test_litellm_goes_round_asynchronously(seen, scenario):
    """acreate_file, acreate_batch, aretrieve_batch, alist_batches, afile_content: every line compared."""
    saw = seen[scenario]

    assert saw["file"]["filename"] == f"{scenario}.jsonl"
    assert saw["found"]["id"] == saw["file"]["id"]
    assert saw["created"]["metadata"] == {"by": "litellm"}
    assert saw["ended"]["status"] == "completed"
    assert saw["ended"]["request_counts"] == {"total": 9, "completed": 8, "failed": 1}
    assert saw["ended"]["usage"]["total_tokens"] == 80
    assert saw["ended"]["id"] in saw["listed"]
    assert saw["deleted"] is True
    compare(lines(saw["output"]), odd_lines())
    (error,) = lines(saw["errors"])
    assert error["response"]["body"] == {"error": REFUSAL}


def test_litellm_goes_round_synchronously(seen):
    """create_file, create_batch, retrieve_batch, cancel_batch, list_batches, file_list, file_content."""
    saw = seen["blocking"]

    assert saw["ended"]["status"] == "completed"
    assert saw["cancelled"]["cancelling_at"]
    assert saw["ended"]["id"] in saw["listed"]
    assert saw["files"] is True
    compare(lines(saw["output"]), odd_lines())


def test_litellm_cancels(seen):
    """The answer to the cancel has its stamp, and the batch ends as cancelled."""
    saw = seen["cancel"]

    assert saw["answer"]["status"] in {"cancelling", "cancelled"}
    assert saw["answer"]["cancelling_at"]
    assert saw["ended"]["status"] == "cancelled"
    assert saw["uploaded_as"] == "upload"


def test_litellm_shows_failures_and_refusals(seen):
    """A bad file fails with its lines named; refused calls raise with the status and our message."""
    saw = seen["bad_file"]

    assert saw["ended"]["status"] == "failed"
    assert saw["ended"]["errors"]["data"][0]["code"] == "invalid_json_line"
    refused = saw["refused"]
    assert "Cannot cancel a batch with status 'failed'." in refused["cancel"]["message"]
    assert "No batch found with id 'batch_none'." in refused["unknown batch"]["message"]
    assert "Cannot find file file-none" in refused["unknown file"]["message"]
    assert [r["status"] for r in refused.values()] == [409, 404, 400]
