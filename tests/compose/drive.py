"""Run docker-compose.cpu.yml for real, without keys and with them, and break it in the middle of a batch.

Builds the variant without a GPU under a project name, ports and network of its own. A port published to others
without a key must not start. Without keys it answers a short batch; then all of it runs with keys, and in the
middle of a longer batch the dispatcher is restarted and every container killed and started again. Every
custom_id must be there exactly once over both files. At last the profile `curation` is started, and a batch's
answers must become tasks of its Label Studio. Called by run.sh, which finds the engine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import openai
from openai.types import Batch

ROOT = Path(__file__).parents[2]
LINES = 60
FEW_LINES = 6
KEYS = {"BATCHLINE_API_KEY": "sk-compose-test", "BATCHLINE_UPSTREAM_API_KEY": "sk-of-the-servers"}
CURATION = {
    "LABEL_STUDIO_TOKEN": "0123456789abcdef" * 2 + "01234567",
    "LABEL_STUDIO_PASSWORD": "curation",
}
STAND_IN = "batchline-test-label-studio"
IN_FLIGHT = 4  # few, so that a graceful restart cannot finish the batch while it drains
HEALTHY_S = 900  # two servers load a model on a busy machine
BATCH_S = 1200
COMMAND_S = 120
BUILD_S = 3600
T = TypeVar("T")
ENDED = ("completed", "failed", "expired", "cancelled")


class Failed(Exception):
    """The stack did not do what it should; the message says what."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def compose_program() -> tuple[str, ...]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    if plugin.returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise Failed("Neither 'docker compose' nor 'docker-compose' works here.")


@dataclass(frozen=True)
class Stack:
    """The containers of one run of the compose file."""

    program: tuple[str, ...]
    project: str = field(default_factory=lambda: f"batchline-test-{os.getpid()}")
    port: int = field(default_factory=free_port)
    nginx_port: int = field(default_factory=free_port)
    studio_port: int = field(default_factory=free_port)
    variables: dict[str, str] = field(default_factory=dict)
    """As in `.env`; what is running takes them at the next start."""

    def compose(self, *arguments: str, limit_s: float = COMMAND_S) -> str:
        """Run one compose command; its standard output is returned, its errors are shown."""
        ran = self.run(*arguments, limit_s=limit_s)
        if ran.returncode != 0:
            raise Failed(f"compose {' '.join(arguments)} ended with {ran.returncode}")
        return ran.stdout

    def run(
        self,
        *arguments: str,
        limit_s: float = COMMAND_S,
        stderr: int | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run one compose command, with these variables beside `self.variables`."""
        # The example holds every knob commented out: a private .env of this folder plays no part.
        argv = [*self.program, "--env-file", ".env.example", "-p", self.project]
        return subprocess.run(
            [*argv, "-f", str(ROOT / "docker-compose.cpu.yml"), *arguments],
            env={
                **{k: v for k, v in os.environ.items() if k not in KEYS},
                "BATCHLINE_COMPOSE_PORT": str(self.port),
                "BATCHLINE_COMPOSE_NGINX_PORT": str(self.nginx_port),
                "BATCHLINE_COMPOSE_LABEL_STUDIO_PORT": str(self.studio_port),
                "BATCHLINE_COMPOSE_SUBNET_PREFIX": f"10.213.{os.getpid() % 250 + 1}",
                "BATCHLINE_MAX_IN_FLIGHT": str(IN_FLIGHT),
                **self.variables,
                **variables,
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=limit_s,
        )

    def build(self) -> None:
        self.compose("build", limit_s=BUILD_S)

    def start(self) -> None:
        """Start every container and wait until each is healthy."""
        self.compose("up", "-d", limit_s=HEALTHY_S)
        wait_for("every service to be healthy", self._all_healthy, limit_s=HEALTHY_S)

    def health(self) -> dict[str, str]:
        """Return the health of each container by name."""
        ids = self.compose("ps", "-q").split()
        if not ids:
            return {}
        shape = "{{.Name}} {{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{end}}"
        inspected = subprocess.run(
            ["docker", "inspect", "--format", shape, *ids],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=COMMAND_S,
        )
        return dict(line.lstrip("/").split() for line in inspected.stdout.splitlines())

    def _all_healthy(self) -> bool:
        states = self.health()
        if any(state.startswith(("exited", "dead")) for state in states.values()):
            raise Failed(f"a container ended: {states}")
        return len(states) == len(self.services()) and set(states.values()) == {"running/healthy"}

    def services(self) -> list[str]:
        return self.compose("config", "--services").split()

    def client(self) -> openai.OpenAI:
        key = self.variables.get("BATCHLINE_API_KEY", "none")
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, timeout=60, max_retries=5
        )


def wait_for(what: str, look: Callable[[], T | None], *, limit_s: float) -> T:
    """Return the first true answer of `look`; a gateway that is away counts as not yet."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if seen := look():
                return seen
        except (openai.APIConnectionError, openai.InternalServerError):
            pass
        time.sleep(0.3)  # the services are containers, and this program finds no other module
    raise Failed(f"waited {limit_s:.0f} s in vain for {what}")


def check(holds: bool, message: str) -> None:
    if not holds:
        raise Failed(message)


def say(message: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {message}", flush=True)


def input_lines(model: str, count: int) -> bytes:
    lines = [
        {
            "custom_id": f"line-{n:03}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": model,
                "messages": [{"role": "user", "content": f"Write a short story about {n} cats."}],
                "max_tokens": 48,
                "ignore_eos": True,  # every answer takes its time: there is a middle to break
                "temperature": 0,
            },
        }
        for n in range(count)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def submit(client: openai.OpenAI, count: int) -> str:
    served = wait_for("a served model", lambda: client.models.list().data, limit_s=60)
    uploaded = client.files.create(
        file=("stories.jsonl", io.BytesIO(input_lines(served[0].id, count))), purpose="batch"
    )
    return client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def wait_until_done(client: openai.OpenAI, batch_id: str, *, at_least: int) -> Batch:
    """Wait for a number of answered lines and check that the batch is still in its middle."""

    def look() -> Batch | None:
        batch = client.batches.retrieve(batch_id)
        check(batch.status not in ENDED, f"the batch is {batch.status} before it was broken")
        return batch if batch.request_counts.completed >= at_least else None

    return wait_for(f"{at_least} answered lines", look, limit_s=BATCH_S)


def wait_until_ended(client: openai.OpenAI, batch_id: str) -> Batch:
    def look() -> Batch | None:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in ENDED else None

    return wait_for("the end of the batch", look, limit_s=BATCH_S)


def answers(client: openai.OpenAI, file_id: str | None) -> list[dict]:
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def check_answers(client: openai.OpenAI, batch: Batch, count: int) -> str:
    """Check that nothing is lost, doubled or failed; return the sum of it in one line."""
    output = answers(client, batch.output_file_id)
    errors = answers(client, batch.error_file_id)
    counts = Counter(line["custom_id"] for line in [*output, *errors])
    wanted = {f"line-{n:03}" for n in range(count)}

    check(batch.status == "completed", f"the batch ended {batch.status}: {batch.errors}")
    check(not wanted - set(counts), f"lost: {sorted(wanted - set(counts))}")
    check(set(counts) == wanted, f"not asked for: {sorted(set(counts) - wanted)}")
    check(set(counts.values()) == {1}, f"answered twice: {[i for i, n in counts.items() if n > 1]}")
    check(not errors, f"failed lines: {errors[:3]}")
    tally = batch.request_counts
    check((tally.total, tally.completed, tally.failed) == (count, count, 0), f"counts: {tally}")
    return f"{len(output)} answers + {len(errors)} errors, every custom_id exactly once"


def check_users(stack: Stack) -> None:
    for service in stack.services():
        user = stack.compose("exec", "-T", service, "id", "-u").strip()
        check(user != "0", f"{service} runs as root")


def check_exposed(stack: Stack) -> None:
    """Published to other machines and without a key, the gateway ends and says why."""
    ran = stack.run(
        *("run", "--rm", "-T", "--no-deps", "gateway", "gateway"),
        stderr=subprocess.STDOUT,
        BATCHLINE_COMPOSE_BIND="0.0.0.0",
    )
    check(ran.returncode != 0, "a gateway open to other machines started without a key")
    check("published on 0.0.0.0 (BATCHLINE_COMPOSE_BIND" in ran.stdout, ran.stdout)


def check_key(stack: Stack) -> None:
    """The key closes the API, and the upstream's the servers."""
    refused = {
        f"http://127.0.0.1:{stack.port}/v1/files": "none",
        f"http://127.0.0.1:{stack.nginx_port}/v1/models": KEYS["BATCHLINE_API_KEY"],
    }
    for url, key in refused.items():
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
        try:
            urllib.request.urlopen(asked, timeout=30)
        except urllib.error.HTTPError as exc:
            check(exc.code == 401, f"{url} answers {exc.code} to a wrong key")
        else:
            raise Failed(f"{url} takes a wrong key")


def find_label_studio(stack: Stack) -> str:
    """Pull the image that the compose file names; where nothing can be pulled, build a stand-in."""
    if stack.run("pull", "label-studio", limit_s=BUILD_S).returncode == 0:
        return "the image that the compose file names"
    subprocess.run(
        ["docker", "build", "-q", "-t", STAND_IN, str(ROOT / "tests" / "curation")],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=BUILD_S,
    )
    stack.variables["BATCHLINE_COMPOSE_LABEL_STUDIO_IMAGE"] = STAND_IN
    return "a stand-in of the same version, since nothing can be pulled"


def tasks_of(stack: Stack, batch_id: str) -> list[dict]:
    """Return the tasks that Label Studio has of a batch."""
    token = {"Authorization": f"Token {CURATION['LABEL_STUDIO_TOKEN']}"}

    def asked(path: str) -> dict:
        url = f"http://127.0.0.1:{stack.studio_port}/api/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=token), timeout=30) as told:
            return json.load(told)

    projects = asked("projects/?title=batchline")["results"]
    found = [asked(f"tasks/?fields=all&project={one['id']}")["tasks"] for one in projects]
    return [task for tasks in found for task in tasks if task["data"]["batch_id"] == batch_id]


def curate(stack: Stack, note: Callable[[str], None]) -> None:
    """Start the profile, and see a batch's answers become tasks."""
    stack.variables.update(CURATION | {"COMPOSE_PROFILES": "curation"})
    note(f"Label Studio: {find_label_studio(stack)}")
    started = time.monotonic()
    stack.start()
    note(f"profile curation healthy after {time.monotonic() - started:.0f} s")
    client = stack.client()
    batch = wait_until_ended(client, submit(client, FEW_LINES))
    output = {line["custom_id"]: line for line in answers(client, batch.output_file_id)}
    tasks = wait_for(
        "its tasks",
        lambda: len(found := tasks_of(stack, batch.id)) >= FEW_LINES and found,
        limit_s=120,
    )
    check(sorted(task["data"]["custom_id"] for task in tasks) == sorted(output), f"tasks: {tasks}")
    for task in tasks:
        said = output[task["data"]["custom_id"]]["response"]["body"]["choices"][0]["message"]
        predicted = [one["result"][0]["value"]["text"] for one in task["predictions"]]
        check(predicted == [[said["content"]]], f"task {task}")
    note(f"{len(tasks)} answers of a batch are {len(tasks)} tasks, each with its answer predicted")


def drive(stack: Stack, note: Callable[[str], None]) -> None:
    """Go through the whole story."""
    started = time.monotonic()
    stack.build()
    note(f"images built in {time.monotonic() - started:.0f} s")
    check_exposed(stack)
    note("published on 0.0.0.0 without a key, the gateway does not start")
    started = time.monotonic()
    stack.start()
    note(f"all {len(stack.services())} services healthy after {time.monotonic() - started:.0f} s")
    check_users(stack)
    note("no service runs as root")
    client = stack.client()
    batch = wait_until_ended(client, submit(client, FEW_LINES))
    note(f"without a key: {check_answers(client, batch, FEW_LINES)}")

    stack.variables.update(KEYS)
    started = time.monotonic()
    stack.start()
    note(f"all services healthy with keys after {time.monotonic() - started:.0f} s")
    check_key(stack)
    note("gateway and servers refuse a wrong key")

    client = stack.client()
    batch_id = submit(client, LINES)
    note(f"batch {batch_id} of {LINES} lines created")

    batch = wait_until_done(client, batch_id, at_least=LINES // 10)
    stack.compose("restart", "dispatcher")
    note(f"dispatcher restarted at {batch.request_counts.completed} of {LINES} lines")

    before = client.batches.retrieve(batch_id).request_counts.completed
    batch = wait_until_done(client, batch_id, at_least=max(LINES // 3, before + 4))
    stack.compose("kill")
    note(f"every container killed at {batch.request_counts.completed} of {LINES} lines")

    started = time.monotonic()
    stack.start()
    note(f"all services healthy again after {time.monotonic() - started:.0f} s")
    note(check_answers(client, wait_until_ended(client, batch_id), LINES))
    curate(stack, note)


def tell(stack: Stack) -> None:
    """Show how the containers are and what they said last."""
    try:
        print(stack.compose("ps"), stack.compose("logs", "--no-color", "--tail", "60"))
    except (Failed, subprocess.SubprocessError) as exc:
        say(f"no logs: {exc}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the containers running")
    parser.add_argument("--curation", action="store_true", help="only the profile `curation`")
    given = parser.parse_args()
    stack = Stack(compose_program())
    seen: list[str] = []

    def note(message: str) -> None:
        say(message)
        seen.append(message)

    try:
        if given.curation:
            stack.build()
            curate(stack, note)
        else:
            drive(stack, note)
    except (Failed, openai.OpenAIError, subprocess.SubprocessError) as exc:
        say(f"FAILED: {exc}")
        tell(stack)
        return 1
    finally:
        if not given.keep:
            stack.compose("down", "-v", "--remove-orphans", limit_s=300)
    print("\nCompose test passed:\n  " + "\n  ".join(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
