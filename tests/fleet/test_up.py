"""`batchline up` and `batchline serve`, as far as they go without model servers. The rest is in tests/e2e."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from ports import free_port
from waiting import wait_until

from batchline.cli.host.demo import answers_of, prompts_of, use_model
from batchline.cli.host.up import _plan_services, _ports_beside
from batchline.errors import Invalid
from batchline.fleet.gpu_or_cpu import OnCpu
from batchline.fleet.nginx import find_nginx
from batchline.settings import Settings

ROOT = Path(__file__).parents[2]
THREE_GPUS = "for n in 0 1 2; do echo $n, GPU-$n, H100, 81559; done"
QUICKSTART = (ROOT / "examples" / "quickstart.jsonl").read_bytes()
_UNFIT = {
    "dispatcher": ("--upstream", "vllm", "write http://vllm"),
    "deliver": ("--port", "70000", "BATCHLINE_DELIVERER_PORT: "),
}
"""A flag with a value that cannot work, and what is said of it."""


@pytest.fixture
def batchline(tmp_path):
    """Run the command in a folder of its own, on ports of its own."""

    def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "batchline.cli.main", *arguments],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "BATCHLINE_DISPATCHER_PORT": str(free_port()),
                "BATCHLINE_DELIVERER_PORT": str(free_port()),
                "BATCHLINE_PORT": str(free_port()),
                "PATH": path or os.environ["PATH"],
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_a_missing_demo_file_is_told_before_anything_is_installed(batchline):
    """Not after minutes of loading."""
    done = batchline("up", "--demo", "nowhere.jsonl")

    assert done.returncode != 0
    assert "nowhere.jsonl" in done.stdout + done.stderr


def test_a_gpu_host_without_vllm_is_told_how_to_install_it(batchline, tmp_path):
    """VLLM is an extra: it lives beside the GPUs only."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA H100, 81559'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)

    done = batchline("up", path=f"{tmp_path}:/usr/bin:/bin")

    assert done.returncode != 0
    assert "pip install 'batchline[vllm]'" in done.stdout + done.stderr


def test_gpus_that_stay_idle_are_told_before_anything_is_started(batchline, tmp_path):
    """Three GPUs, two for each server."""
    for name, script in {"nvidia-smi": THREE_GPUS, "vllm": "exit 1"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ports = ("--nginx-port", str(free_port()), "--first-backend-port", str(free_port()))

    done = batchline(
        *("up", "--tensor-parallel-size", "2", "--data", "data", *ports),
        path=f"{tmp_path}:/usr/sbin:/usr/bin:/bin",
    )

    idle, _, rest = done.stdout.partition("Starting 1 vLLM GPU servers")
    assert "1 of 3 GPUs stay idle: 2 (H100). --tensor-parallel-size 2 takes 2" in idle
    assert rest


def test_a_file_of_the_earlier_form_says_what_the_servers_run(batchline, tmp_path, monkeypatch):
    """Each of its keys for vLLM becomes a flag; an argument wins, and comes last."""
    for name, script in {
        "nvidia-smi": THREE_GPUS,
        "vllm": 'echo "$@" > "$0.flags"; exit 1',
    }.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "service.yaml").write_text(
        "model: {path: /models/qwen, tensor_parallel_size: 2}\n"
        "serving: {response_role: helper, enable_prompt_tokens_details: true}\n"
        f"logging: {{max_log_len: 200}}\nmetrics: {{port: {free_port()}}}\n"
    )
    monkeypatch.setenv("BATCHLINE_CONFIG", "service.yaml")
    ports = ("--nginx-port", str(free_port()), "--first-backend-port", str(free_port()))

    batchline(
        *("up", "--data", "data", "--vllm-arg=--response-role=other", *ports),
        path=f"{tmp_path}:/usr/sbin:/usr/bin:/bin",
    )

    flags = (tmp_path / "vllm.flags").read_text().split()
    assert flags[:2] == ["serve", "/models/qwen"]
    assert flags[flags.index("--tensor-parallel-size") + 1] == "2"
    assert flags[-4:] == [
        *("--response-role=helper", "--enable-prompt-tokens-details", "--max-log-len=200"),
        "--response-role=other",
    ]


def test_nginx_and_servers_leave_the_ports_of_our_processes_alone():
    """Metrics on 8001, as the earlier form has them; a port that is asked for is not changed."""
    settings = Settings(metrics_port=8001, port=8003, _env_file=None)
    hardware = OnCpu(2)

    assert _ports_beside(settings, hardware, None, None) == (8000, 8004)
    assert _ports_beside(settings, hardware, 8001, None) == (8001, 8004)
    assert _ports_beside(settings, hardware, None, 8001) == (8000, 8001)
    assert _ports_beside(Settings(_env_file=None), hardware, None, None) == (8000, 8001)


def test_a_missing_nginx_is_told_how_to_install_it(monkeypatch, tmp_path):
    """The message is a command."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Invalid, match="apt-get install"):
        find_nginx(beside=str(tmp_path))


@pytest.mark.parametrize("command", ["up", "serve", "gateway"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_without_a_key_nothing_starts_that_other_machines_reach(batchline, tmp_path, command, host):
    """Told before anything is written or installed."""
    done = batchline(command, "--host", host, "--data", "data")

    assert done.returncode == 2
    assert f"it would listen on {host} (--host, BATCHLINE_HOST)" in done.stderr
    assert "--insecure" in done.stderr
    assert not (tmp_path / "data").exists()


def test_an_unknown_variable_of_a_server_is_told(batchline):
    """NAME passes one on; there must be one."""
    done = batchline("up", "--cpu", "1", "--vllm-env", "NO_SUCH_VARIABLE")

    assert done.returncode == 2
    assert "--vllm-env NO_SUCH_VARIABLE: write NAME=VALUE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--upstream", "127.0.0.1:8000"), "write http://127.0.0.1:8000"),
        (("serve", "--upstream", "vllm"), "write http://vllm"),
        (("serve", "--upstream", "ftp://127.0.0.1:8000"), "write http://127.0.0.1:8000"),
        (("serve", "--upstream", "http://"), "write it like http://127.0.0.1:8000"),
        (("serve", "--backend", "http://a:1", "--backend", "b:2"), "write http://b:2"),
        (("dispatcher", "--upstream", "a:1/v1"), "write http://a:1"),
        (("dispatcher", "--backend", "https:/a"), "write it like http://127.0.0.1:8000"),
    ],
)
def test_an_address_that_cannot_be_reached_stops_the_start(batchline, arguments, said):
    """Setting, value and remedy at once; else batches would wait until they expire."""
    done = batchline(*arguments)

    assert done.returncode == 2
    name = "UPSTREAM_URL" if "--upstream" in arguments else "BACKEND_URLS"
    assert f"BATCHLINE_{name}: " in done.stderr
    assert said in done.stderr
    assert f"(got '{arguments[-1]}')" in done.stderr


@pytest.mark.parametrize("command", ["serve", "gateway", "dispatcher", "deliver", "up"])
def test_settings_that_cannot_work_stop_every_start(batchline, tmp_path, monkeypatch, command):
    """All at once, before anything is started or made; no key is shown."""
    monkeypatch.setenv("BATCHLINE_LOG_LEVEL", "loud")
    (tmp_path / ".env").write_text("BATCHLINE_PROT=1\nBATCHLINE_API_KEY='hunter2 '\n")
    flag, value, said = _UNFIT.get(command, ("--host", "0.0.0.0:80", "write 0.0.0.0"))

    done = batchline(command, "--data", "data", flag, value)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "BATCHLINE_LOG_LEVEL: " in done.stderr
    assert "did you mean BATCHLINE_PORT?" in done.stderr
    assert said in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert [found.name for found in tmp_path.iterdir()] == [".env"]


def test_serve_runs_our_processes_and_ends_clean_on_ctrl_c(tmp_path):
    """Each answers; after SIGINT the exit code is 0 and nobody is left.

    Dispatcher and deliverer stay on loopback wherever the gateway listens, and what they write is their owner's.
    """
    port, ops_port, deliverer_port = free_port(), free_port(), free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "batchline.cli.main", "serve"),
            *("--port", str(port), "--data", str(tmp_path / "data")),
            *("--host", "0.0.0.0", "--insecure"),
            *("--upstream", f"http://127.0.0.1:{free_port()}"),
        ],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "BATCHLINE_DISPATCHER_PORT": str(ops_port),
            "BATCHLINE_DELIVERER_PORT": str(deliverer_port),
        },
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for number in (port, ops_port, deliverer_port):
            wait_until_up(f"http://127.0.0.1:{number}/health", process)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 3
        assert listening(family) == {
            port: "0.0.0.0",
            ops_port: "127.0.0.1",
            deliverer_port: "127.0.0.1",
        }
        assert [
            path for path in (tmp_path / "data").rglob("*") if path.stat().st_mode & 0o077
        ] == []

        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 0
        assert psutil.wait_procs(family, timeout=30)[1] == []
    finally:
        process.kill()
        process.wait()


def test_the_deliverer_stops_after_the_dispatcher(tmp_path):
    """What the dispatcher ends as it stops is still told."""
    first, last = _plan_services(Settings(data_dir=tmp_path, _env_file=None))

    assert [program.name for program in first] == ["gateway", "deliverer"]
    assert [program.name for program in last] == ["dispatcher"]


def test_a_webhook_without_a_secret_stops_the_start(batchline, tmp_path, monkeypatch):
    """Before anything is started; else the deliverer would die of it again and again."""
    monkeypatch.setenv("BATCHLINE_WEBHOOK_URL", "https://example.com/hook")

    done = batchline("serve", "--data", "data")

    assert done.returncode == 2
    assert "needs BATCHLINE_WEBHOOK_SECRET" in done.stderr
    assert list(tmp_path.iterdir()) == []


def listening(family: list[psutil.Process]) -> dict[int, str]:
    return {
        connection.laddr.port: connection.laddr.ip
        for process in family
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    def is_up():
        assert process.poll() is None, "serve ended"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200

    wait_until(is_up, every_s=0.1, not_yet=OSError, saw=lambda: url)


def test_the_demonstration_fits_the_model_that_is_served():
    """The example names the CPU model; on GPUs another one answers."""
    lines = use_model(QUICKSTART, "Qwen/Qwen3-0.6B").decode().splitlines()

    assert len(lines) == 10
    assert all('"model": "Qwen/Qwen3-0.6B"' in line for line in lines)


def test_prompts_and_answers_meet_by_custom_id():
    """Each answer is shown below its own question; an error in the place of an answer."""
    output = [
        (
            '{"custom_id":"a","response":{"status_code":200,"body":'
            '{"choices":[{"message":{"content":" Paris. "}}]}},"error":null}'
        ),
        '{"custom_id":"b","response":null,"error":{"code":"x","message":"lost"}}',
    ]

    answers = answers_of(output)

    assert answers["a"] == "Paris."
    assert "lost" in answers["b"]
    assert prompts_of(QUICKSTART)["capital-of-france"] == "What is the capital of France?"
