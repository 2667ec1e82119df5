"""autobatcher in its default mode: every call becomes a response in the background."""

from __future__ import annotations

from pathlib import Path

import pytest
from installed import KEY, facts_of, run_client

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first of them installs them all

SCRIPT = Path(__file__).parent / "outside" / "autobatcher_calls.py"


@pytest.fixture(scope="module")
def seen(outside, locked, tmp_path_factory):
    """What autobatcher saw."""
    folder = tmp_path_factory.mktemp("autobatcher")
    done = run_client(*(outside, SCRIPT, f"{locked.url}/v1"), cwd=folder, CLIENT_TEST_KEY=KEY)
    return facts_of(done)


def test_each_call_gets_its_own_answer(seen):
    assert seen["chats"] == [f"echo: chat {number}" for number in range(20)]
    assert seen["tokens"] == [10] * 20
    assert seen["response"] == ["completed", "echo: a response"]


def test_a_refusal_reaches_the_caller_with_its_reason(seen):
    assert "max_tokens is too large" in seen["refused"]
