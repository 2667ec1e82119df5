"""The real processes, started by a settings file of the earlier form: they do what it says."""

from __future__ import annotations

import asyncio
import base64
import urllib.error
import urllib.request

import openai
import pytest
from ports import free_port

KEY = "sk-earlier"
FILE = """
model:
  path: m
  tensor_parallel_size: 1
serving:
  batch_size: 4
  batch_interval: 0.01
  max_concurrent_requests: 8
  response_role: assistant
  enable_prompt_tokens_details: true
metrics:
  enable: {enable}
  url: 127.0.0.1
  port: {port}
logging:
  level: warning
  max_log_len: 200
security:
  api_key: sk-earlier
"""
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'


def password_of(key):
    return {"Authorization": "Basic " + base64.b64encode(f"prometheus:{key}".encode()).decode()}


def status_of(port, path="/metrics", headers=None):
    """What a port answers; None if nothing listens."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        return exc.code
    except urllib.error.URLError:
        return None


@pytest.fixture
def start_by(make_system, tmp_path):
    """Start the processes by a file; return them and the port of metrics that it names."""

    def start(*, enable="true"):
        port = free_port()
        path = tmp_path / "service.yaml"
        path.write_text(FILE.format(port=port, enable=enable))
        system = make_system(config=path)
        system.headers = {"Authorization": f"Bearer {KEY}"}
        system.wait_ready()
        return system, port

    return start


async def test_the_service_is_as_the_file_says(start_by):
    """Key, level of the log, metrics on their port; a batch runs."""
    await asyncio.to_thread(_look_at_all, *await asyncio.to_thread(start_by))


def _look_at_all(system, port):
    anyone = openai.OpenAI(base_url=system.url + "/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        anyone.batches.list()
    system.client = openai.OpenAI(base_url=system.url + "/v1", api_key=KEY)

    ended = system.ended(system.submit(LINE))

    assert ended.request_counts.completed == 1
    assert status_of(port) == 401
    assert status_of(port, headers=password_of(KEY)) == 200
    assert status_of(port, "/v1/batches", system.headers) == 404
    assert status_of(system.port, headers=system.headers) == 200
    assert status_of(system.ops_port) == 200
    assert " INFO " not in system.logs()  # each process logs where it listens


async def test_without_metrics_no_process_serves_them(start_by):
    """Neither on the port that the file names."""
    await asyncio.to_thread(
        _look_for_metrics, *await asyncio.to_thread(lambda: start_by(enable="false"))
    )


def _look_for_metrics(system, port):
    assert status_of(port) is None
    assert status_of(system.port, headers=system.headers) == 404
    assert status_of(system.ops_port) == 404
    assert status_of(system.ops_port, "/health") == 200
