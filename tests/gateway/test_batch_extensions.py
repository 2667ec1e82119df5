"""Answers about one batch tell progress, speed, end and results beside OpenAI's fields."""

from __future__ import annotations

import pytest
from sdk_shapes import OF_ONE, parse_strictly

from batchline.api.objects.batch import batch_object
from batchline.api.objects.batch_extensions import extended
from batchline.model import Batch, Counts, Usage
from batchline.states import BatchStatus, OutcomeKind

OK, BAD = OutcomeKind.SUCCEEDED, OutcomeKind.FAILED
T = 1_700_000_000


def batch(**fields):
    usual = {
        "seq": 1,
        "id": "batch_1",
        "status": BatchStatus.IN_PROGRESS,
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "input_key": "files/in",
        "completion_window": "24h",
        "created_at": T - 10,
        "expires_at": T + 86400,
        "in_progress_at": T,
        "counts": Counts(total=1000, completed=240, failed=10),
        "usage": Usage(input_tokens=3000, output_tokens=2000, total_tokens=5000),
    }
    return Batch(**usual | fields)


def told(one, *, after_s=100.0):
    return extended(batch_object(one), one, now=T + after_s)


def test_a_batch_that_runs_tells_how_far_it_is_and_when_it_ends():
    """250 of 1,000 in 100 s: three times as long for the rest."""
    shown = told(batch())

    assert shown.batch_id == "batch_1"
    assert shown.results_url == "/v1/batches/batch_1/results"
    assert shown.total_tokens == 5000
    assert shown.throughput_tokens_per_sec == 50.0
    progress = shown.progress
    assert (progress.total, progress.completed, progress.failed) == (1000, 240, 10)
    assert progress.percent == 25.0
    estimate = shown.estimate
    assert estimate.estimated_seconds == 300
    assert estimate.estimated_completion == T + 400
    assert estimate.throughput_requests_per_sec == 2.5
    assert estimate.throughput_tokens_per_sec == 50.0
    assert "have finished" in estimate.based_on


@pytest.mark.parametrize(
    "fields",
    [
        {"status": BatchStatus.VALIDATING, "in_progress_at": None, "counts": Counts()},
        {"counts": Counts(total=1000)},
        {"counts": Counts(total=1_000_000, completed=100)},
        {"paused_at": T + 50},
        {"status": BatchStatus.CANCELLING},
        {"status": BatchStatus.FINALIZING, "finalizing_at": T + 50},
        {"status": BatchStatus.COMPLETED, "completed_at": T + 50},
    ],
    ids=str,
)
def test_no_end_is_told_that_is_not_known(fields):
    """Of a batch that does not run, or of which too little has finished."""
    assert told(batch(**fields)).estimate is None


def test_an_ended_batch_tells_its_speed_for_ever():
    """The time after its end does not count."""
    ended = batch(status=BatchStatus.COMPLETED, finalizing_at=T + 50, completed_at=T + 90)

    assert told(ended, after_s=60).throughput_tokens_per_sec == 100.0
    assert told(ended, after_s=1e6).throughput_tokens_per_sec == 100.0


def test_before_it_began_it_has_no_speed():
    """No division by a time that did not pass."""
    new = batch(status=BatchStatus.VALIDATING, in_progress_at=None, counts=Counts(), usage=Usage())

    assert told(new).throughput_tokens_per_sec is None
    assert told(new).progress.percent == 0.0
    assert told(batch(), after_s=0).throughput_tokens_per_sec is None


@pytest.mark.spec("beyond-extensions")
async def test_progress_goes_from_nothing_to_all(gateway):
    """It polls `status` and `progress.percent`, and gets `results_url` (tests/system plays it whole)."""
    answer = await gateway.create_batch()
    url = f"/v1/batches/{answer.id}"

    assert (await gateway.call("GET", url)).json["progress"]["percent"] == 0.0
    await gateway.run(answer.id, OK, BAD)
    ended = (await gateway.call("GET", url)).json

    assert ended["batch_id"] == ended["id"] == answer.id
    assert (ended["status"], ended["progress"]["percent"]) == ("completed", 100.0)
    assert ended["total_tokens"] == ended["usage"]["total_tokens"] == 8
    assert ended["results_url"] == f"{url}/results"


@pytest.mark.spec("beyond-extensions")
@pytest.mark.parametrize(
    ("setting", "accept", "there"),
    [
        (True, None, True),
        (False, None, False),
        (True, "application/json; extensions=off", False),
        (True, "text/html, application/json;q=0.9 ; Extensions=OFF , */*", False),
        (False, "application/json;extensions=on", True),
        (True, "application/json; extensions=maybe", True),
        (True, ";,;;=off,extensions", True),
    ],
)
async def test_a_client_that_refuses_unknown_fields_turns_them_off(starts, setting, accept, there):
    """By the Accept header of one request, or for all by the setting; lists never have them."""
    gateway = await starts(extensions=setting)
    made = await gateway.create_batch()
    headers = {"Accept": accept} if accept else {}
    url = f"/v1/batches/{made.id}"

    answers = [
        await gateway.call("GET", url, headers=headers),
        await gateway.call("POST", f"{url}/cancel", headers=headers),
    ]
    listed = await gateway.call("GET", "/v1/batches", headers=headers)

    for answer in answers:
        assert OF_ONE.isdisjoint(answer.json) is not there
        assert set(answer.json) >= OF_ONE or not there
        parse_strictly(answer.body, answer.json)
    assert OF_ONE.isdisjoint(listed.json["data"][0])
