"""`batchline up` and `batchline serve`: plan what runs on this host, then keep it running.

Checks ports, nginx and vLLM first, installs the CPU build where there is no GPU, and gives the plan to the
supervisor. `batchline.fleet.programs` decides flags and ports.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchline.cli.api.options import Insecure
from batchline.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console

    from batchline.fleet.cpu import CpuBuild
    from batchline.fleet.gpu_or_cpu import OnCpu, OnGpus
    from batchline.fleet.programs import ModelOptions, Program
    from batchline.settings import Settings

Host = Annotated[str | None, typer.Option(help="Address of API and dashboard [default: 127.0.0.1]")]
HostPort = Annotated[int | None, typer.Option(help="Port of API and dashboard [default: 5000]")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of files, results and logs [default: .batchline/data]"),
]
Model = Annotated[
    str | None, typer.Option(help="Hugging Face name or folder of a model [default: a small one]")
]
CpuServers = Annotated[
    int | None, typer.Option(help="Run this many CPU servers instead; 2 where there is no GPU")
]
VllmArguments = Annotated[
    list[str] | None,
    typer.Option(help="Passed to every vLLM server, such as --vllm-arg=--seed=1; repeatable"),
]
VllmVariables = Annotated[
    list[str] | None,
    typer.Option(
        help="A variable of every vLLM server, NAME=VALUE, or NAME of one that is set here; repeatable"
    ),
]
TensorParallelSize = Annotated[int | None, typer.Option(help="GPUs for each server [default: 1]")]
NginxPort = Annotated[int | None, typer.Option(help="Port of nginx [default: 8000]")]
FirstBackendPort = Annotated[
    int | None, typer.Option(help="Port of the first vLLM server [default: 8001]")
]
DemoFile = Annotated[Path | None, typer.Option(help="Answer this batch file once everything is up")]
_NGINX_PORT, _FIRST_BACKEND_PORT = 8000, 8001
_CLOSING_S = 20.0  # what the processes of a run need beyond their grace
_SLACK_S = (
    600  # nginx waits this much longer than the dispatcher, so that the dispatcher gives up first
)


def up(
    *,
    model: Model = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the model")] = None,
    gpus: Annotated[str, typer.Option(help="How many GPUs to use, or auto for all")] = "auto",
    cpu: CpuServers = None,
    tensor_parallel_size: TensorParallelSize = None,
    vllm_arg: VllmArguments = None,
    vllm_env: VllmVariables = None,
    demo: DemoFile = None,
    data: Data = None,
    host: Host = None,
    port: HostPort = None,
    insecure: Insecure = None,
    nginx_port: NginxPort = None,
    first_backend_port: FirstBackendPort = None,
) -> None:
    """Start model servers, nginx and the processes of batchline on this machine; keep them running."""
    from rich.console import Console

    from batchline.fleet.cpu import cpu_build
    from batchline.fleet.nginx import find_nginx

    settings = _settings(
        data_dir=data,
        host=host,
        port=port,
        insecure=insecure,
        fleet_model=model,
        fleet_tensor_parallel_size=tensor_parallel_size,
    )
    if demo is not None and not demo.is_file():
        raise Invalid(f"--demo {demo}: there is no such file.")
    find_nginx()
    build = cpu_build(settings.fleet_cache_dir)
    hardware = _choose(gpus, cpu)
    nginx_port, first_port = _ports_beside(settings, hardware, nginx_port, first_backend_port)
    options = _model_options(
        settings,
        hardware,
        build,
        revision=revision,
        vllm_arg=vllm_arg or (),
        env=_variables(vllm_env or ()),
        first_port=first_port,
    )
    servers = _plan_servers(options, hardware, build)
    out = Console(highlight=False, soft_wrap=True)
    _check_ports(settings, out, nginx_port=nginx_port, servers=servers)
    _start(options, servers, hardware, settings, nginx_port=nginx_port, demo=demo, out=out)


def serve(
    *,
    host: Host = None,
    port: HostPort = None,
    insecure: Insecure = None,
    data: Data = None,
    upstream: Annotated[
        str | None, typer.Option(help="Where lines are sent: any OpenAI-compatible URL")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="A model server behind it, for health and load; repeatable"),
    ] = None,
) -> None:
    """Run the processes of batchline against model servers that already run."""
    from rich.console import Console

    from .keep import keep_running

    settings = _settings(
        data_dir=data,
        host=host,
        port=port,
        insecure=insecure,
        upstream_url=upstream,
        backend_urls=tuple(backend) if backend else None,
    )
    out = Console(highlight=False, soft_wrap=True)
    _check_ports(settings, out)
    raise typer.Exit(keep_running(_plan_services(settings), settings, out=out))


def _start(
    options: ModelOptions,
    servers: Sequence[Program],
    hardware: OnGpus | OnCpu,
    settings: Settings,
    *,
    nginx_port: int,
    demo: Path | None,
    out: Console,
) -> None:
    """Install what is missing, then run the whole plan until it is stopped."""
    from rich.markup import escape

    from batchline.fleet.cpu import install_cpu_build
    from batchline.fleet.gpu_or_cpu import OnCpu, OnGpus
    from batchline.fleet.gpus import left_over

    from .demo import Demo
    from .keep import keep_running

    if isinstance(hardware, OnCpu):
        install_cpu_build(settings.fleet_cache_dir, say=out.print)
    proxy = _plan_nginx(servers, settings, port=nginx_port)
    backends = tuple(server.url for server in servers)
    settings = settings.model_copy(update={"upstream_url": proxy.url, "backend_urls": backends})
    where = "CPU" if isinstance(hardware, OnCpu) else "GPU"
    if isinstance(hardware, OnGpus) and (
        idle := left_over(hardware.gpus, options.tensor_parallel_size)
    ):
        out.print(f"[yellow]![/yellow] {escape(idle)}")
    out.print(f"Starting {len(servers)} vLLM {where} servers of {options.served_name}")
    show = Demo(demo.name, demo.read_bytes(), options.served_name) if demo else None
    stages = [servers, (proxy,), *_plan_services(settings)]
    raise typer.Exit(keep_running(stages, settings, out=out, demo=show))


def _settings(**given: object) -> Settings:
    """Read the settings of what is to be started. Raises Invalid."""
    from batchline.config.exposure import check_exposure
    from batchline.settings import load_settings
    from deliver.app import wanted_by

    settings = load_settings(**given)
    check_exposure(settings)
    wanted_by(settings)
    # Absolute: a child may run in another folder than this process.
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


def _choose(gpus: str, cpu: int | None) -> OnGpus | OnCpu:
    from batchline.child_environment import child_environment
    from batchline.fleet.gpu_or_cpu import choose
    from batchline.fleet.gpus import detect_gpus

    visible = child_environment().get("CUDA_VISIBLE_DEVICES")
    return choose(gpus=gpus, cpu=cpu, detect=lambda: detect_gpus(visible=visible))


def _ports_beside(
    settings: Settings, hardware: OnGpus | OnCpu, nginx: int | None, first_backend: int | None
) -> tuple[int, int]:
    """Return nginx's port and that of the first server: those given, else ones that our processes leave."""
    from batchline.fleet.gpu_or_cpu import OnCpu
    from batchline.fleet.ports import first_free

    ours = settings.listening_ports
    count = hardware.count if isinstance(hardware, OnCpu) else len(hardware.gpus)
    nginx = nginx or first_free(_NGINX_PORT, 1, taken=ours)
    return nginx, first_backend or first_free(_FIRST_BACKEND_PORT, count, taken={*ours, nginx})


def _model_options(
    settings: Settings,
    hardware: OnGpus | OnCpu,
    build: CpuBuild,
    *,
    vllm_arg: Sequence[str],
    **given: Any,
) -> ModelOptions:
    from batchline.fleet.gpu_or_cpu import OnCpu
    from batchline.fleet.programs import (
        CPU_MODEL_NAME,
        DEFAULT_GPU_MODEL,
        ModelOptions,
        flags_of,
    )

    given |= {
        "vllm_args": (*flags_of(settings), *vllm_arg),
        "tensor_parallel_size": settings.fleet_tensor_parallel_size,
        "api_key": settings.upstream_api_key,
        "media_domains": settings.media_domains,
        "logs": settings.data_dir / "logs",
    }
    if isinstance(hardware, OnCpu) and settings.fleet_model in {None, CPU_MODEL_NAME}:
        return ModelOptions(model=str(build.model), served_name=CPU_MODEL_NAME, **given)
    name = settings.fleet_model or DEFAULT_GPU_MODEL
    return ModelOptions(model=name, served_name=name, **given)


def _plan_servers(
    options: ModelOptions, hardware: OnGpus | OnCpu, build: CpuBuild
) -> tuple[Program, ...]:
    from batchline.fleet.gpu_or_cpu import OnCpu
    from batchline.fleet.programs import plan_cpu_servers, plan_gpu_servers

    if isinstance(hardware, OnCpu):
        return plan_cpu_servers(options, hardware.count, python=build.python)
    return plan_gpu_servers(options, hardware.gpus, vllm=(_find_vllm(),))


def _variables(given: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE, or NAME with the value of this process. Raises Invalid: it has no such variable."""
    from batchline.child_environment import child_environment

    ours = child_environment()
    found = {}
    for text in given:
        name, is_set, value = text.partition("=")
        if not name or not (is_set or name in ours):
            raise Invalid(f"--vllm-env {text}: write NAME=VALUE, or name a variable that is set.")
        found[name] = value if is_set else ours[name]
    return found


def _find_vllm() -> str:
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.exists() else shutil.which("vllm")
    if found is None:
        raise Invalid(
            "This host has GPUs, but the vllm command was not found. Install it: "
            "pip install 'batchline[vllm]'. Or go without the GPUs: --cpu 2"
        )
    return found


def _plan_nginx(servers: Sequence[Program], settings: Settings, *, port: int) -> Program:
    """Write nginx's configuration into the data folder and return the program that runs it."""
    from batchline.fleet.nginx import (
        READ_TIMEOUT_S,
        find_nginx,
        nginx_argv,
        render_nginx,
        write_nginx,
    )
    from batchline.fleet.programs import plan_nginx
    from batchline.serving.listening import LOOPBACK

    folder = settings.data_dir / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir / "logs" / "nginx.log"
    config = folder / "nginx.conf"
    write_nginx(
        config,
        render_nginx(
            [server.address for server in servers],
            listen=f"{LOOPBACK}:{port}",
            run_dir=str(folder),
            error_log=str(log),
            foreground=True,
            user="root" if os.geteuid() == 0 else None,
            read_timeout_s=max(READ_TIMEOUT_S, int(settings.request_timeout_s) + _SLACK_S),
            hosts=settings.allowed_hosts,
        ),
    )
    return plan_nginx(nginx_argv(find_nginx(), config, error_log=log), port=port, log=log)


def _plan_services(settings: Settings) -> list[Sequence[Program]]:
    """Plan our processes; the dispatcher stops first, so that what it ends as it stops is still told."""
    from batchline.config.unknown_names import PREFIX
    from batchline.fleet.programs import plan_service
    from batchline.serving.identity import Part

    env = {
        "DATA_DIR": str(settings.data_dir),
        "HOST": settings.host,
        "PORT": str(settings.port),
        "DISPATCHER_HOST": settings.dispatcher_host,
        "DISPATCHER_PORT": str(settings.dispatcher_port),
        "DELIVERER_HOST": settings.deliverer_host,
        "DELIVERER_PORT": str(settings.deliverer_port),
        "INSECURE": str(settings.insecure),
        "UPSTREAM_URL": settings.upstream_url,
        "BACKEND_URLS": ",".join(settings.backend_urls),
    }
    plan = partial(
        plan_service,
        logs=settings.data_dir / "logs",
        env={PREFIX + name: value for name, value in env.items()},
        grace_s=settings.grace_s,
    )
    gateway = plan(Part.GATEWAY, settings.host, settings.port)
    deliverer = plan(Part.DELIVERER, settings.deliverer_host, settings.deliverer_port)
    dispatcher = plan(Part.DISPATCHER, settings.dispatcher_host, settings.dispatcher_port)
    return [(gateway, deliverer), (dispatcher,)]


def _check_ports(
    settings: Settings,
    out: Console,
    *,
    nginx_port: int | None = None,
    servers: Sequence[Program] = (),
) -> None:
    """Raise Invalid if a port is taken; wait for processes that a killed run left behind."""
    from batchline.fleet.ports import Port, check_ports, wait_for_ports
    from batchline.process.locks import is_left_behind
    from batchline.serving.listening import LOOPBACK

    ports = [
        Port("the gateway", settings.host, settings.port, "choose another with --port"),
        Port(
            "the dispatcher",
            settings.dispatcher_host,
            settings.dispatcher_port,
            "set BATCHLINE_DISPATCHER_PORT",
        ),
        Port(
            "the deliverer",
            settings.deliverer_host,
            settings.deliverer_port,
            "set BATCHLINE_DELIVERER_PORT",
        ),
    ]
    if (metrics := settings.metrics_address) is not None:
        ports.append(Port("metrics", *metrics, "set BATCHLINE_METRICS_PORT"))
    if nginx_port is not None:
        ports.append(Port("nginx", LOOPBACK, nginx_port, "choose another with --nginx-port"))
    ports += [
        Port(server.name, server.host, server.port, "choose others with --first-backend-port")
        for server in servers
    ]
    graces_s = [settings.grace_s, *(server.grace_s for server in servers)]
    wait_for_ports(
        ports,
        is_left_behind=lambda: is_left_behind(settings.data_dir),
        within_s=max(graces_s) + _CLOSING_S,
        say=out.print,
    )
    check_ports(ports)
