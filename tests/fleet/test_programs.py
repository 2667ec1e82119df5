"""What runs on a host: the plan."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchline.child_environment import child_environment
from batchline.cli.main import COMMANDS
from batchline.errors import Invalid
from batchline.fleet.gpu_or_cpu import DEFAULT_CPU_SERVERS, OnCpu, OnGpus, choose
from batchline.fleet.gpus import Gpu
from batchline.fleet.programs import (
    ModelOptions,
    flags_of,
    plan_cpu_servers,
    plan_gpu_servers,
    plan_service,
)
from batchline.serving.identity import Part
from batchline.settings import Settings

GPUS = tuple(Gpu(n, f"GPU-{n}", "H100", 81559) for n in range(8))


def options(**fields) -> ModelOptions:
    return ModelOptions(**({"model": "m", "served_name": "m", "logs": Path("/logs")} | fields))


def value_of(argv, flag):
    return argv[argv.index(flag) + 1]


def test_each_gpu_gets_a_server_of_its_own():
    """Eight GPUs: eight servers on ports 8001 to 8008, each seeing one GPU."""
    servers = plan_gpu_servers(options(), GPUS, vllm=["vllm"])

    assert [server.port for server in servers] == list(range(8001, 8009))
    assert [server.env["CUDA_VISIBLE_DEVICES"] for server in servers] == list("01234567")
    assert [value_of(server.argv, "--port") for server in servers] == [
        str(server.port) for server in servers
    ]


def test_tensor_parallel_servers_share_out_the_gpus():
    """Size 3 on eight GPUs: two servers, two GPUs stay idle."""
    servers = plan_gpu_servers(options(tensor_parallel_size=3), GPUS, vllm=["vllm"])

    assert [server.env["CUDA_VISIBLE_DEVICES"] for server in servers] == ["0,1,2", "3,4,5"]
    assert {value_of(server.argv, "--tensor-parallel-size") for server in servers} == {"3"}


@pytest.mark.parametrize("size", [0, 9])
def test_a_tensor_parallel_size_that_does_not_fit_is_refused(size):
    """The message names the option and how many GPUs there are."""
    with pytest.raises(Invalid, match="--tensor-parallel-size"):
        plan_gpu_servers(options(tensor_parallel_size=size), GPUS, vllm=["vllm"])


def test_mig_devices_get_a_server_each_and_are_not_shared():
    """CUDA shows a process one of them."""
    devices = tuple(Gpu(0, f"MIG-{n}", "H100 MIG 1g.10gb", 0) for n in "ab")

    servers = plan_gpu_servers(options(), devices, vllm=["vllm"])

    assert [server.env["CUDA_VISIBLE_DEVICES"] for server in servers] == ["MIG-a", "MIG-b"]
    with pytest.raises(Invalid, match="--tensor-parallel-size 2 needs whole GPUs"):
        plan_gpu_servers(options(tensor_parallel_size=2), devices, vllm=["vllm"])


def test_the_users_flags_come_last():
    """VLLM takes the last of two equal flags: the user's."""
    (server,) = plan_cpu_servers(
        options(vllm_args=("--max-model-len", "512")), 1, python=Path("/python")
    )

    assert server.argv[-2:] == ("--max-model-len", "512")


def test_settings_become_flags_where_they_are_set():
    """VLLM's own defaults stay where they are not."""
    asked = Settings(
        fleet_response_role="-x",
        fleet_prompt_tokens_details=True,
        fleet_max_log_len=0,
        _env_file=None,
    )

    assert flags_of(Settings(_env_file=None)) == ()
    assert flags_of(asked) == (
        *("--response-role=-x", "--enable-prompt-tokens-details", "--max-log-len=0"),
    )


def test_the_revision_is_passed_on():
    """A pinned model stays pinned."""
    servers = plan_gpu_servers(options(revision="abc"), GPUS[:1], vllm=["vllm"])

    assert value_of(servers[0].argv, "--revision") == "abc"


def test_servers_keep_connections_longer_than_their_clients():
    """Uvicorn's 5 s would race with the pools of nginx and the gateway."""
    servers = plan_cpu_servers(options(), 2, python=Path("/python"))

    assert {server.env["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] for server in servers} == {"65"}


@pytest.mark.parametrize(
    ("name", "is_passed"),
    [
        ("PATH", True),
        ("HF_TOKEN", True),
        ("VLLM_LOGGING_LEVEL", True),
        ("https_proxy", True),
        ("LC_ALL", True),
        ("BATCHLINE_API_KEY", False),
        ("BATCHLINE_UPSTREAM_API_KEY", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("OPENAI_API_KEY", False),
        ("PYTHONPATH", False),
        ("PYTHONDONTWRITEBYTECODE", False),
        ("VIRTUAL_ENV", False),
    ],
)
def test_servers_see_no_more_of_our_environment_than_they_need(name, is_passed, monkeypatch):
    """No secret of the operator's, and nothing of our virtual environment."""
    monkeypatch.setenv(name, "x")
    (on_cpu,) = plan_cpu_servers(options(), 1, python=Path("/python"))
    (on_gpu,) = plan_gpu_servers(options(), GPUS[:1], vllm=["vllm"])

    for server in (on_cpu, on_gpu):
        assert (name in child_environment(server.env, only=server.inherits)) is is_passed


@pytest.mark.parametrize(("given", "asked"), [("secret", "secret"), (None, "")])
def test_servers_ask_for_the_key_that_the_dispatcher_sends(given, asked, monkeypatch):
    """And for none that only our shell knows."""
    monkeypatch.setenv("VLLM_API_KEY", "of the shell")
    (server,) = plan_cpu_servers(options(api_key=given), 1, python=Path("/python"))

    assert child_environment(server.env, only=server.inherits)["VLLM_API_KEY"] == asked


@pytest.mark.parametrize(
    ("domains", "flags"),
    [
        ((), ["no-domain-is-allowed.invalid"]),
        (("a.example", "b.example"), ["a.example", "b.example"]),
        (("*",), None),
    ],
)
def test_servers_fetch_from_named_hosts_alone(domains, flags):
    """VLLM takes an empty list for every host, and follows redirects unless it is told."""
    (server,) = plan_cpu_servers(options(media_domains=domains), 1, python=Path("/python"))

    argv = list(server.argv)
    assert ("--allowed-media-domains" in argv) is (flags is not None)
    if flags:
        at = argv.index("--allowed-media-domains")
        assert argv[at + 1 : at + 1 + len(flags)] == flags
        assert argv[at + 1 + len(flags)].startswith("--")
    assert server.env["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"


def test_an_operators_variables_win():
    """Whatever a server needs that we do not know of."""
    (server,) = plan_cpu_servers(
        options(env={"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "1"}), 1, python=Path("/python")
    )

    assert server.env["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "1"


@pytest.mark.parametrize(("model", "offline"), [("/folder", True), ("Qwen/Qwen3-0.6B", False)])
def test_only_a_model_in_a_folder_is_served_offline(model, offline):
    """A name has to be looked up."""
    (server,) = plan_cpu_servers(options(model=model), 1, python=Path("/python"))

    assert ("HF_HUB_OFFLINE" in server.env) is offline


def test_the_gateway_is_asked_where_it_can_be_reached():
    """Listening on every address, it is looked for on the loopback one."""
    gateway = plan_service(Part.GATEWAY, "0.0.0.0", 5000, logs=Path("/"), env={}, grace_s=30.0)

    assert gateway.url == "http://127.0.0.1:5000"


@pytest.mark.parametrize("part", Part)
def test_each_of_our_processes_is_run_by_a_command_that_there_is(part):
    """Its name is that of its log; it gets longer to stop than it gives what it has begun."""
    planned = plan_service(part, "::1", 1, logs=Path("/logs"), env={"A": "1"}, grace_s=30.0)

    assert planned.argv[:3] == (sys.executable, "-m", "batchline.cli.main")
    assert planned.argv[3] in COMMANDS
    assert (planned.part, planned.env) == (part, {"A": "1"})
    assert planned.log == Path(f"/logs/{planned.name}.log")
    assert planned.grace_s > 30.0


@pytest.mark.parametrize("part", Part)
def test_each_is_asked_on_the_address_that_it_listens_on(part):
    """Not on the loopback one, where nobody of them is."""
    rest = {"logs": Path("/logs"), "env": {}, "grace_s": 1.0}

    asked = {host: plan_service(part, host, 1, **rest).address for host in ("::1", "::")}

    assert asked == {"::1": "[::1]:1", "::": "127.0.0.1:1"}


def never():
    raise AssertionError("must not look for GPUs")


@pytest.mark.parametrize(
    ("gpus", "cpu", "found", "expected"),
    [
        ("auto", None, GPUS, OnGpus(GPUS)),
        ("auto", None, (), OnCpu(DEFAULT_CPU_SERVERS)),
        ("2", None, GPUS, OnGpus(GPUS[:2])),
        ("0", None, GPUS, OnCpu(DEFAULT_CPU_SERVERS)),
        ("auto", 3, GPUS, OnCpu(3)),
    ],
)
def test_gpus_are_used_where_there_are_any(gpus, cpu, found, expected):
    """--cpu wins, --gpus limits, and without GPUs two CPU servers run."""
    assert choose(gpus=gpus, cpu=cpu, detect=lambda: found) == expected


def test_gpus_are_not_looked_for_if_the_options_say_it_all():
    """nvidia-smi can take long or hang on a broken driver."""
    assert choose(gpus="auto", cpu=1, detect=never) == OnCpu(1)


@pytest.mark.parametrize(("gpus", "cpu"), [("many", None), ("9", None), ("-1", None), ("auto", 0)])
def test_an_option_that_cannot_work_is_refused(gpus, cpu):
    """The message names the option."""
    with pytest.raises(Invalid, match=r"--gpus|--cpu"):
        choose(gpus=gpus, cpu=cpu, detect=lambda: GPUS)
