"""All configuration: one frozen `Settings`, read from the environment, `.env` and a YAML file.

The only reader of our environment; `environment.py` decides what children inherit. Precedence: arguments,
then `BATCHLINE_*` variables, then `.env`, then the YAML file named by `BATCHLINE_CONFIG`, then defaults.
Unknown names and bad values in any of them stop the start, and all are listed. The table in
docs/settings.md is generated from the fields below and of the classes of `config/` that they go on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from batchline.config.fleet_settings import FleetSettings
from batchline.config.listening_settings import ListeningSettings
from batchline.config.settings_file import SettingsFile, read_settings_file
from batchline.config.synchronous_settings import SynchronousSettings
from batchline.config.told_faults import told
from batchline.config.types import (
    Bounds,
    Fields,
    Hosts,
    Key,
    LogLevel,
    MediaHosts,
    Networks,
    Origins,
    Secret,
    Url,
    Urls,
)
from batchline.config.unknown_names import (
    CONFIG_VARIABLE,
    DOTENV,
    PREFIX,
    dotenv_faults,
    unknown_variables,
)
from batchline.jsonl.body_rules import HIGHEST_BY_DEFAULT, REFUSED_BY_DEFAULT, BodyRules
from batchline.outbound.media_urls import MediaRules
from batchline.serving.origins import Known, known

from .errors import Invalid
from .states import OnFailures

_ENCODING = "utf-8-sig"  # editors on Windows write a byte order mark


class Settings(FleetSettings, ListeningSettings, SynchronousSettings, BaseSettings):
    """Every setting, with its unit in its name. Frozen after the start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=DOTENV,
        env_file_encoding=_ENCODING,
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
    )

    data_dir: Path = Field(
        Path(".batchline/data"), description="Where files, results and the database live"
    )
    webhook_secret: Secret | None = Field(
        None,
        description="Signs what is told to `BATCHLINE_WEBHOOK_URL` and to the `callback_url` of batches, as "
        "`whsec_` and base64: `batchline webhooks secret` makes one; registered endpoints have their own",
    )
    webhook_url: str | None = Field(
        None,
        description="A URL that is told the end of every batch; needs `BATCHLINE_WEBHOOK_SECRET`",
    )
    webhook_networks: Networks = Field(
        (),
        description="Private addresses or networks, comma separated, to which webhooks may be delivered, "
        "also over HTTP, such as `127.0.0.0/8,10.0.0.0/8`; public addresses get them over HTTPS alone",
    )
    handlers_file: Path | None = Field(
        None, description="A YAML file that sets up handlers of results, each in a section"
    )
    handlers_folder: Path | None = Field(
        None, description="A folder of Python files with handlers of results of your own"
    )
    upstream_url: Url = Field(
        "http://127.0.0.1:8000",
        description="Where lines are sent: nginx, or any OpenAI server; a path is kept, a `/v1` at "
        "its end may be written or not",
    )
    backend_urls: Urls = Field(
        (), description="Model servers behind the upstream, comma separated, for health and metrics"
    )
    upstream_api_key: Key | None = Field(
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
    max_attempts: int = Field(5, ge=1, description="Attempts at one line before it fails for good")
    on_failures: OnFailures = Field(
        OnFailures.CONTINUE,
        description="What becomes of a batch of which at least 50 lines have finished and more than half "
        "failed, unless it was created with its own `on_failures`: `continue`, or `pause` with the reason",
    )
    request_timeout_s: float = Field(
        3600.0,
        gt=0,
        description="One attempt of one line, from send to last byte; the longest silence of a server "
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
    max_connections: int = Field(
        4096,
        ge=1,
        description="Connections to the gateway at a time; when all are taken, idle ones are closed "
        "for new ones, and where none is idle a new one is answered 503",
    )
    max_downloads: int = Field(
        200,
        ge=1,
        description="Downloads at a time (files, results, errors), as many followed results, and as many "
        "pages of the dashboard; more are answered 503",
    )
    min_download_bytes_s: int = Field(
        1000,
        ge=1,
        description="Slowest pace at which a client may take what waits for it; one that is slower for more "
        "than 30 s is cut off",
    )
    max_lines: int = Field(1_000_000, ge=1, description="Most requests in one batch")
    max_line_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1,
        description="Longest line of an input file, and largest interactive request",
    )
    delete_cancels: bool = Field(
        True,  # noqa: FBT003
        description="`DELETE /v1/batches/{id}` cancels a batch that has not ended; false: it is refused with "
        "409",
    )
    extensions: bool = Field(
        True,  # noqa: FBT003
        description="Answer about one batch with progress, estimate and more beside OpenAI's fields; false "
        "for clients that refuse unknown fields (or they send `Accept: application/json; extensions=off`)",
    )
    one_model_per_batch: bool = Field(
        False,  # noqa: FBT003
        description="Refuse input files whose lines name several models",
    )
    refuse_unknown_models: bool = Field(
        True,  # noqa: FBT003
        description="Refuse lines whose model the fleet does not list; false where it serves unlisted ones",
    )
    refused_fields: Fields = Field(
        REFUSED_BY_DEFAULT,
        description="Fields of a request's body that are refused unless null, comma separated: what reaches "
        "deeper into a model server than a client should; empty: none",
    )
    highest_values: Bounds = Field(
        HIGHEST_BY_DEFAULT,
        description="Highest values of fields of a request's body, comma separated; empty: no bounds",
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
    api_key: Key | None = Field(
        None, description="If set, clients must send it as their OpenAI API key"
    )
    insecure: bool = Field(
        False,  # noqa: FBT003
        description="Start without a key although other machines reach the gateway: whoever does may read, "
        "change and delete everything",
    )
    watch_from: Networks = Field(
        (),
        description="Addresses or networks, comma separated, from which `/metrics` and `/ready` may be read "
        "without the key, such as `10.0.0.7,172.16.0.0/12`",
    )
    allowed_hosts: Hosts = Field(
        (),
        description="Host names by which batchline's processes may be reached, comma separated, beside "
        "localhost, IP addresses and `BATCHLINE_HOST`; others are refused with 421, so that no web page "
        "reads answers by DNS rebinding; `*` takes every name",
    )
    allowed_origins: Origins = Field(
        (),
        description="Origins of other web pages that may use the API from a browser (CORS), comma separated, "
        "such as `https://app.example.org`; pages of any other may change nothing (403)",
    )
    log_level: LogLevel = Field(
        LogLevel.INFO, description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    log_json: bool = Field(False, description="Log lines as JSON objects instead of text")  # noqa: FBT003
    media_hosts: MediaHosts = Field(
        (),
        description="Hosts from which the dispatcher fetches the audio of lines (`file_url`), comma "
        "separated; `*.example.org`: all names below that one, `*`: any; unset: none, data URLs alone",
    )
    media_networks: Networks = Field(
        (),
        description="Private addresses or networks, comma separated, in which such hosts may be; public "
        "addresses always",
    )
    media_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="Largest audio file that is fetched, or sent interactively",
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
        yaml_settings = InitSettingsSource(settings_cls, _file(settings_cls.model_fields).values)
        return (init_settings, env_settings, dotenv_settings, yaml_settings)

    @property
    def known(self) -> Known:
        """The host names of this server, and the origins that may use it."""
        return known(
            hosts=(*self.listening_hosts, *self.allowed_hosts),
            origins=self.allowed_origins,
        )

    @property
    def body_rules(self) -> BodyRules:
        """What a request may not ask of an engine."""
        return BodyRules(self.refused_fields, self.highest_values)

    @property
    def media_rules(self) -> MediaRules:
        """Where the media of lines may come from."""
        return MediaRules(self.media_hosts, self.media_networks, self.media_max_bytes)

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "batchline.sqlite3"

    @property
    def blobs_dir(self) -> Path:
        """The folder of file contents and result segments."""
        return self.data_dir / "blobs"


def config_path() -> Path | None:
    """Return the path of the YAML file, if one is named."""
    path = os.environ.get(CONFIG_VARIABLE)
    return Path(path) if path else None


def _file(fields: Collection[str]) -> SettingsFile:
    path = config_path()
    return SettingsFile() if path is None else read_settings_file(path, fields)


def _dotenv_text() -> str:
    path = Path(DOTENV)
    try:
        return path.read_text(_ENCODING) if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"{path.absolute()} cannot be read: {exc}") from exc


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (command line arguments) that are None are left out.

    Raises Invalid: all unknown names and bad values in one message.
    """
    given = {k: v for k, v in overrides.items() if v is not None}
    fields = Settings.model_fields
    file = _file(fields)
    problems = [
        *unknown_variables(os.environ, fields),
        *dotenv_faults(_dotenv_text(), fields),
        *file.faults,
    ]
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        elsewhere = {*given, *EnvSettingsSource(Settings)(), *DotEnvSettingsSource(Settings)()}
        problems += [told(error, fields, file.keys_without(elsewhere)) for error in exc.errors()]
    else:
        problems += _apart(settings)
    if problems:
        raise Invalid("Bad settings:\n  " + "\n  ".join(problems))
    return settings


def _apart(settings: Settings) -> list[str]:
    """Name the settings that do nothing without another one."""
    if (
        not settings.serve_metrics
        or settings.metrics_host is None
        or settings.metrics_port is not None
    ):
        return []
    return [f"{PREFIX}METRICS_HOST: it needs {PREFIX}METRICS_PORT, such as 8001, or does nothing"]


FAILPOINTS = "BATCHLINE_TEST_FAILPOINTS"


def armed_failpoints() -> str:
    """Return what `failpoints.arm` takes: empty but in tests that break the process."""
    return os.environ.get(FAILPOINTS, "")
