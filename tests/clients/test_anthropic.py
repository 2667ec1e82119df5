"""The anthropic package, from its own environment, against the real service: nothing but its address changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from echoes import REFUSAL
from installed import KEY, facts_of, run_client

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first of them installs them all

SCRIPT = Path(__file__).parent / "outside" / "anthropic_calls.py"


@pytest.fixture(scope="session")
def seen(outside, locked, tmp_path_factory):
    """What the package saw in each scenario."""
    folder = tmp_path_factory.mktemp("anthropic")
    return facts_of(
        run_client(outside, SCRIPT, locked.url, cwd=folder, CLIENT_TEST_KEY=KEY, PYTHONUTF8="1")
    )


def counts(**some):
    return dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0) | some


@pytest.mark.spec(
    *("anthropic-create", "anthropic-object", "anthropic-counts", "anthropic-results"),
    *("anthropic-params-later", "anthropic-delete", "anthropic-results-url"),
)
def test_a_round_trip(seen):
    """create, retrieve, results, delete: every object parsed strictly, every answer compared."""
    saw = seen["round_trip"]

    assert saw["created"]["request_counts"] == counts(processing=7)
    assert saw["ended"]["request_counts"] == counts(succeeded=5, errored=2)
    assert saw["request_id"].startswith("req_")
    good, (bad, refused) = saw["results"][:5], saw["results"][5:]
    assert [line["result"]["message"]["stop_reason"] for line in good] == ["end_turn"] * 5
    texts = [line["result"]["message"]["content"][0]["text"] for line in good]
    assert texts[0] == "echo: What is 2 + 2?"
    assert texts[3:] == [
        "echo: one\u2028two\u2029three\u0085four",
        'echo: tab\tnewline\nreturn\rquote"backslash\\nul\u0000',
    ]
    errors = [line["result"]["error"]["error"] for line in (bad, refused)]
    assert [error["type"] for error in errors] == ["invalid_request_error"] * 2
    assert "max_tokens" in errors[0]["message"]
    assert errors[1]["message"] == REFUSAL["message"]
    assert saw["deleted"] == {"id": saw["created"]["id"], "type": "message_batch_deleted"}


@pytest.mark.spec("anthropic-cancel", "anthropic-counts", "anthropic-keys")
def test_a_cancelled_batch(seen):
    """By the asynchronous client's beta, which sends a header and a query of its own."""
    saw = seen["cancelling"]

    assert saw["cancelled"]["processing_status"] in ("canceling", "ended")
    assert saw["cancelled"]["cancel_initiated_at"]
    assert saw["ended"]["request_counts"] == counts(canceled=3)
    assert [line["result"]["type"] for line in saw["results"]] == ["canceled"] * 3


@pytest.mark.spec("anthropic-list")
def test_pages_turn_by_themselves_in_both_directions(seen):
    """The newest first; upwards each page ends where the one before began."""
    saw = seen["paging"]
    made = saw["made"]

    assert saw["down"] == made[::-1]
    assert saw["up"] == [[made[2], made[1]], [made[4], made[3]]]


@pytest.mark.spec("anthropic-interactive")
def test_interactive_messages(seen):
    """Whole, streamed, and counted."""
    saw = seen["interactive"]

    assert saw["answer"] == "echo: Hello"
    assert saw["request_id"].startswith("req_")
    assert (saw["usage"]["input_tokens"], saw["usage"]["output_tokens"]) == (7, 3)
    assert saw["pieces"] == ["echo:", "Hello", "again"]
    assert saw["final"] == ["end_turn", "echo:Helloagain"]
    assert saw["tokens"] == 4


@pytest.mark.spec("anthropic-error-form", "anthropic-custom-id")
def test_errors_are_raised_as_what_they_are(seen):
    """The class goes by the status, the type by the body; the id of the request is in both places."""
    saw = seen["errors"]

    assert {name: found[:2] for name, found in saw.items()} == {
        "refused": ["BadRequestError", "invalid_request_error"],
        "wrong_key": ["AuthenticationError", "authentication_error"],
        "unknown": ["NotFoundError", "not_found_error"],
        "bad_id": ["BadRequestError", "invalid_request_error"],
        "twice": ["BadRequestError", "invalid_request_error"],
        "limit": ["BadRequestError", "invalid_request_error"],
    }
    assert all(is_named for *_, is_named in saw.values())
    assert saw["refused"][2] == REFUSAL["message"]
    assert "requests.0.custom_id" in saw["bad_id"][2]
    assert "requests.1.custom_id" in saw["twice"][2]


def test_the_example_of_the_documents_runs(outside, service, tmp_path):
    """As it stands, but for the address and the model."""
    text = (Path(__file__).parents[2] / "docs" / "anthropic.md").read_text("utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    assert "http://localhost:5000" in code
    script = tmp_path / "example.py"
    script.write_text(
        code.replace("http://localhost:5000", service.url).replace("Qwen/Qwen3-8B", "m")
    )

    done = run_client(outside, script, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a MessageBatchSucceededResult(")
    assert "echo: Name a prime." in done.stdout
