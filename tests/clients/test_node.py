"""Packages of npm against the real service: node runs their tests, pytest tells of each."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest
from echoes import REFUSAL, chat_line, expected, jsonl, odd_lines
from installed import KEY, NODE_TESTS, run_client

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]  # the first of them installs them all

NAMES = [
    name
    for path in sorted(NODE_TESTS.glob("*.test.mjs"))
    for name in re.findall(r"^test\('(.+?)'", path.read_text(), re.MULTILINE)
]


def told(request):
    """What must come back for a request: the form in which node compares it."""
    refused = request["body"]["messages"][0]["content"].startswith("REFUSE")
    return {
        "custom_id": request["custom_id"],
        "status_code": 400 if refused else 200,
        "body": {"error": REFUSAL} if refused else expected(request["body"]),
        "error": None,
    }


INPUTS = {
    "odd": odd_lines(),
    "refused": [chat_line("good", "fine"), chat_line("bad", "REFUSE")],
    "waiting": [chat_line("done", "fine"), *(chat_line(f"w{n}", "WAIT") for n in range(9))],
}


@pytest.fixture(scope="session")
def outcomes(node, locked, tmp_path_factory):
    """Run all of node's tests once; yields name → what failed, or None."""
    folder = tmp_path_factory.mktemp("node")
    for name, requests in INPUTS.items():
        (folder / f"{name}.jsonl").write_bytes(jsonl(requests))
        answers = [told(request) for request in requests]
        (folder / f"{name}.expected.json").write_text(json.dumps(answers))
    bad = jsonl([chat_line("a", "x")]) + b"nonsense\n" + jsonl([chat_line("a", "y")])
    (folder / "bad.jsonl").write_bytes(bad)
    report = folder / "report.xml"
    done = run_client(
        *(node, "--test", "--test-reporter=junit", f"--test-reporter-destination={report}"),
        *sorted(NODE_TESTS.glob("*.test.mjs")),
        cwd=folder,
        CLIENT_TEST_URL=f"{locked.url}/v1",
        CLIENT_TEST_KEY=KEY,
        CLIENT_TEST_FOLDER=str(folder),
    )
    cases = list(ET.parse(report).iter("testcase"))
    assert cases, done.stderr
    return {case.get("name"): case.findtext("failure") for case in cases}


@pytest.mark.parametrize("name", NAMES)
def test_the_packages_of_npm(outcomes, name):
    """Each test of the same name in node/*.test.mjs passed."""
    assert name in outcomes
    assert outcomes[name] is None
