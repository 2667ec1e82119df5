"""All configuration: one frozen `Settings`, read from the environment, `.env` and a YAML file.

The only reader of the environment. Precedence: arguments, then `BATCHLINE_*` variables, then `.env`,
then the YAML file named by `BATCHLINE_CONFIG`, then defaults. Unknown or bad values stop the start and
are all listed. The table in docs/settings.md is generated from the fields below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import Invalid
from .server_url import server_url
from .states import OnFailures

PREFIX = "BATCHLINE_"
CONFIG_VARIABLE = "BATCHLINE_CONFIG"
CLIENT_VARIABLES = frozenset({"BATCHLINE_URL"})
"""Read by the client commands of the command line, not by the processes."""
_SCHEME = re.compile(r"['\"\[(]*\w+://")
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/score",
    "/v1/rerank",
)


def _split(value: Any) -> Any:
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


def _server_url(value: str) -> str:
    try:
        return server_url(value)
    except ValueError as exc:
        raise PydanticCustomError("server_url", "{why}", {"why": str(exc)}) from exc


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value, strict=False)
    except ValueError as exc:
        why = f"{value!r} is neither an address nor a network, such as 10.0.0.7 or 172.16.0.0/12"
        raise PydanticCustomError("network", "{why}", {"why": why}) from exc


Url = Annotated[str, AfterValidator(_server_url)]
Urls = Annotated[tuple[Url, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)], ...],
    NoDecode,
    BeforeValidator(_split),
]


class Settings(BaseSettings):
    """Every knob, with its unit in its name. Frozen after the start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore"
    )

    data_dir: Path = Field(
        Path(".batchline/data"), description="Where files, results and the database live"
    )
    host: str = Field("127.0.0.1", description="Address the gateway listens on")
    port: int = Field(5000, ge=0, le=65535, description="Port the gateway listens on")
    dispatcher_port: int = Field(
        5001, ge=0, le=65535, description="Port of the dispatcher's /health and /metrics"
    )
    upstream_url: Url = Field(
        "http://127.0.0.1:8000",
        description="Where lines are sent: nginx, or any OpenAI server; host and port, without /v1",
    )
    backend_urls: Urls = Field(
        (), description="Model servers behind the upstream, comma separated, for health and metrics"
    )
    upstream_api_key: str | None = Field(
        None, description="Bearer key sent to the upstream and the backends"
    )
    max_in_flight: int | None = Field(
        None, ge=1, description="Requests in flight at most; unset: found from the engines' queues"
    )
    max_concurrent_batches: int | None = Field(
        None,
        ge=1,
        description="Batches that run at the same time, others wait their turn; one that cannot go on "
        "(paused, no server for its model, all its lines sent) takes nobody's place; unset: no limit",
    )
    max_held_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1,
        description="Memory of the dispatcher for requests read ahead and in flight, and for answers until "
        "they are stored; a request larger than what is free waits for room, alone if need be",
    )
    max_attempts: int = Field(5, ge=1, description="Tries of one line before it fails for good")
    on_failures: OnFailures = Field(
        OnFailures.CONTINUE,
        description="What becomes of a batch of which at least 50 lines have finished and more than half "
        "failed, unless it was created with its own `on_failures`: `continue`, or `pause` with the reason",
    )
    request_timeout_s: float = Field(
        3600.0,
        gt=0,
        description="One try of one line, from send to last byte; the longest silence of a server "
        "towards an interactive client",
    )
    retry_base_s: float = Field(0.5, gt=0, description="First retry delay; doubles, full jitter")
    retry_max_s: float = Field(30.0, gt=0, description="Longest retry delay without Retry-After")
    lease_s: float = Field(30.0, gt=0, description="How long a claimed slice stays reserved")
    flush_s: float = Field(
        0.03, gt=0, description="Results are grouped this long, then made durable"
    )
    probe_interval_s: float = Field(1.0, gt=0, description="How often each backend is looked at")
    hang_after_s: float = Field(
        300.0,
        ge=0,
        description="A model server whose engine stands still this long with requests of ours, or that "
        "answers nothing for a fifth of it, hangs: its requests go elsewhere; 0: never",
    )
    model_grace_s: float = Field(
        60.0,
        ge=0,
        description="Lines whose model no living server has served for so long fail as `model_not_found`; "
        "until then they wait",
    )
    grace_s: float = Field(30.0, ge=0, description="Time to finish requests in flight on SIGTERM")
    max_file_bytes: int = Field(
        512 * 1024 * 1024, ge=1, description="Largest file, counted after decompression"
    )
    max_upload_bytes: int = Field(
        8 * 1024 * 1024 * 1024, ge=1, description="Largest file sent in parts (/v1/uploads)"
    )
    min_free_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=0,
        description="Disk space kept free: with less, uploads are refused and dispatch pauses; 0: no limit",
    )
    max_lines: int = Field(1_000_000, ge=1, description="Most requests in one batch")
    max_line_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1,
        description="Longest line of an input file, and largest interactive request",
    )
    one_model_per_batch: bool = Field(
        False,  # noqa: FBT003
        description="Refuse input files whose lines name several models",
    )
    refuse_unknown_models: bool = Field(
        True,  # noqa: FBT003
        description="Refuse lines whose model the fleet does not list; false where it serves unlisted ones",
    )
    max_faults: int = Field(200, ge=1, description="Faults listed for one bad input file")
    min_completion_window_s: int = Field(
        3600,
        ge=1,
        le=86400,
        description="Shortest completion window; below an hour, windows such as 5s and 10m exist too",
    )
    file_ttl_s: int = Field(
        30 * 86400, ge=0, description="Age at which batch files expire; 0 keeps them"
    )
    batch_ttl_s: int = Field(
        0,
        ge=0,
        description="Age (from their end) at which ended batches are forgotten; 0 keeps them",
    )
    api_key: str | None = Field(
        None, description="If set, clients must send it as their OpenAI API key"
    )
    watch_from: Networks = Field(
        (),
        description="Addresses or networks, comma separated, from which `/metrics` and `/ready` may be read "
        "without the key, such as `10.0.0.7,172.16.0.0/12`",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_json: bool = Field(False, description="Log lines as JSON objects instead of text")  # noqa: FBT003
    fleet_cache_dir: Path = Field(
        Path("~/.cache/batchline"),
        description="Where `up` keeps the CPU build of vLLM and its model",
    )
    cell: str = Field(
        "local", description="Name of this host's group of processes, in metrics and leases"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the YAML file last, before the defaults."""
        del file_secret_settings
        return (init_settings, env_settings, dotenv_settings, _YamlFile(settings_cls))

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "batchline.sqlite3"

    @property
    def blobs_dir(self) -> Path:
        """The folder of file contents and result segments."""
        return self.data_dir / "blobs"


class _YamlFile(PydanticBaseSettingsSource):
    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = os.environ.get(CONFIG_VARIABLE)
        if not path:
            return {}
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError) as exc:
            raise Invalid(f"{CONFIG_VARIABLE} names {path}, which cannot be read: {exc}") from exc
        if not isinstance(content, dict):
            raise Invalid(f"{path} must hold a mapping of settings, such as 'port: 5000'.")
        return content


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (command line arguments) that are None are left out.

    Raises Invalid: all unknown and bad values in one message.
    """
    given = {k: v for k, v in overrides.items() if v is not None}
    problems = _unknown_names()
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        problems += [
            f"{PREFIX}{'_'.join(str(p) for p in e['loc'][:1]).upper()}: {e['msg']} "
            f"(got {_without_password(repr(e['input']))})"
            for e in exc.errors()
        ]
    if problems:
        raise Invalid("Bad settings:\n  " + "\n  ".join(problems))
    return settings


def _without_password(shown: str) -> str:
    """Leave out what stands before the last @, but for the scheme: it may be a password, however written."""
    before, at, after = shown.rpartition("@")
    scheme = _SCHEME.match(before)
    return f"{scheme[0] if scheme else ''}…@{after}" if at else shown


def child_environment(
    changes: Mapping[str, str] | None = None, *, without: Collection[str] = ()
) -> dict[str, str]:
    """Return this process's environment for a child, with `changes`, without the names in `without`."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return kept | dict(changes or {})


def _unknown_names() -> list[str]:
    known = (
        {PREFIX + name.upper() for name in Settings.model_fields}
        | {CONFIG_VARIABLE}
        | CLIENT_VARIABLES
    )
    unknown = [n for n in os.environ if n.startswith(PREFIX) and n not in known]
    unknown = [n for n in unknown if not n.startswith(COMPOSE_ONLY)]
    yaml_names = set(_YamlFile(Settings)()) - set(Settings.model_fields)
    return [f"{n}: no such setting; docs/settings.md lists them all" for n in sorted(unknown)] + [
        f"{n} (in {os.environ[CONFIG_VARIABLE]}): no such setting" for n in sorted(yaml_names)
    ]


COMPOSE_ONLY = ("BATCHLINE_COMPOSE_", "BATCHLINE_TEST_")
"""Prefixes read by the compose files and the tests; of them the processes know `FAILPOINTS` alone."""
FAILPOINTS = "BATCHLINE_TEST_FAILPOINTS"


def armed_failpoints() -> str:
    """Return what `failpoints.arm` takes: empty but in tests that break the process."""
    return os.environ.get(FAILPOINTS, "")


def settings_table() -> str:
    """Render the Markdown table of docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "unset" if default is None or default == () else f"`{default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
