"""The real processes of batchline, driven by the openai client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import openai
from ports import free_port
from waiting import wait_until
from warm import Warm

from batchline.process.locks import at_work

TERMINAL = {"completed", "failed", "expired", "cancelled"}


class System:
    """Processes that can be killed and started again on the same data directory."""

    def __init__(self, folder, upstream_url, *, api_key=None, **settings):
        self.port, self.ops_port, self.deliverer_port = free_port(), free_port(), free_port()
        self.folder, self.data = folder, folder / "data"
        self.environment = os.environ | {
            "BATCHLINE_DATA_DIR": str(folder / "data"),
            "BATCHLINE_PORT": str(self.port),
            "BATCHLINE_DISPATCHER_PORT": str(self.ops_port),
            "BATCHLINE_DELIVERER_PORT": str(self.deliverer_port),
            "BATCHLINE_UPSTREAM_URL": upstream_url,
            "BATCHLINE_PROBE_INTERVAL_S": "0.1",
            "BATCHLINE_RETRY_BASE_S": "0.02",
            "BATCHLINE_GRACE_S": "5",
            **{f"BATCHLINE_{k.upper()}": str(v) for k, v in settings.items()},
        }
        self.headers = {}
        if api_key is not None:
            self.environment["BATCHLINE_API_KEY"] = api_key
            self.headers["Authorization"] = f"Bearer {api_key}"
        self.processes = {}
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = openai.OpenAI(
            base_url=self.url + "/v1", api_key=api_key or "unused", max_retries=8
        )

    def start(self, *names, failpoints="", cwd=None):
        """Start processes; in `cwd` may lie another version of the programs."""
        environment = self.environment | {"BATCHLINE_TEST_FAILPOINTS": failpoints}
        for name in names:
            log = self.folder / f"{name}.log"
            started = (
                Warm([name], environment, log)
                if cwd is None
                else _cold(name, environment, log, cwd)
            )
            self.processes[name] = started

    def kill(self, name, number=signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(60)

    def stop(self):
        """Let the processes finish what they have in hand, as an operator does."""
        self._end(signal.SIGTERM)

    def end(self):
        """End what still runs, where nobody asks any more how; a killed process tells no coverage."""
        self._end(signal.SIGTERM if "COVERAGE_RUN" in os.environ else signal.SIGKILL)

    def _end(self, number):
        for process in self.processes.values():
            process.send_signal(number)
        for process in self.processes.values():
            process.wait(60)

    def logs(self):
        return "\n".join(p.read_text() for p in self.folder.glob("*.log"))

    def forget_logs(self):
        for path in self.folder.glob("*.log"):
            os.truncate(path, 0)  # whoever writes to it appends

    def get(self, path):
        """Return (status, text) of a plain GET."""
        request = urllib.request.Request(self.url + path, headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def post(self, path):
        """POST without a body; return the status."""
        request = urllib.request.Request(self.url + path, method="POST", headers=self.headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status

    def wait_ready(self, within_s=60):
        wait_until(
            lambda: self.get("/ready")[0] == 200,
            within_s=within_s,
            every_s=0.1,
            not_yet=OSError,
            saw=lambda: f"not ready:\n{self.logs()}",
        )

    def wait_at_work(self, many, within_s=60):
        """Wait until so many work on the directory and are ready.

        `/ready` alone may tell of a dispatcher that was killed there less than 15 s ago.
        """
        wait_until(lambda: len(at_work(self.data)) >= many, within_s=within_s, saw=self.logs)
        self.wait_ready()

    def until_logged(self, text, within_s=60):
        wait_until(
            lambda: text in self.logs(),
            within_s=within_s,
            saw=lambda: f"{text!r} was never logged:\n{self.logs()}",
        )

    def submit(self, content, endpoint="/v1/chat/completions"):
        file = self.client.files.create(file=content, purpose="batch")
        return self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h"
        )

    def until(self, batch, condition, within_s=120):
        found = batch

        def is_so():
            nonlocal found
            found = self.client.batches.retrieve(batch.id)
            return condition(found)

        wait_until(is_so, within_s=within_s, every_s=0.05, saw=lambda: f"{found}\n{self.logs()}")
        return found

    def ended(self, batch, within_s=120):
        return self.until(batch, lambda b: b.status in TERMINAL, within_s)

    def lines(self, file_id):
        text = self.client.files.content(file_id).text if file_id else ""
        return [json.loads(line) for line in text.splitlines()]

    def results(self, batch):
        """Return (output, errors), checking that each custom_id is there exactly once."""
        output, errors = self.lines(batch.output_file_id), self.lines(batch.error_file_id)
        ids = [line["custom_id"] for line in output + errors]
        assert len(ids) == len(set(ids)) == batch.request_counts.total
        return output, errors


def _cold(name, environment, log, cwd):
    with log.open("a") as talk:
        argv = [sys.executable, "-m", "batchline.cli.main", name]
        return subprocess.Popen(argv, env=environment, stderr=talk, cwd=cwd)
