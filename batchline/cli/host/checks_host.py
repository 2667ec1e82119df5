"""Doctor's checks of this host: versions, data directory, disk, database, nginx, vLLM, ports.

They change nothing; each returns findings and raises nothing.
"""

from __future__ import annotations

import errno
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from batchline import figures
from batchline.child_environment import child_environment
from batchline.errors import Invalid, StoreUnavailable, Unavailable
from batchline.fleet.cpu import cpu_build
from batchline.fleet.gpus import detect_gpus
from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx, write_nginx
from batchline.fleet.ports import refusal_to_listen
from batchline.settings import Settings
from batchline.store.database.schema import found_schema, known_schema

from .findings import Finding, good, warning, wrong

_OLDEST_PYTHON = (3, 11)
_PACKAGES = ("aiohttp", "aiosqlite", "httpx", "msgspec", "pydantic", "uvloop")
_LOW_BYTES = 10 * 10**9
_EMPTY_BYTES = 10**9
_NGINX_S = 20.0


def check_versions() -> Iterator[Finding]:
    """Python, batchline and its packages."""
    python = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        yield good("python", python)
    else:
        yield wrong("python", f"{python} is too old", "install Python 3.11 or newer")
    missing = [name for name in _PACKAGES if _version(name) is None]
    if missing:
        yield wrong("packages", f"{', '.join(missing)} missing", "install batchline again")
    else:
        names = ("batchline", *_PACKAGES)
        yield good("packages", ", ".join(f"{name} {_version(name) or '?'}" for name in names))


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """The data directory can be written, and its disk has room."""
    existing = _nearest(settings.data_dir.absolute())
    shown = settings.data_dir.absolute()
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"batchline doctor")
    except OSError as exc:
        yield wrong(
            "data directory",
            f"{existing} cannot be written: {exc.strerror or exc}",
            "change its owner, or name another with BATCHLINE_DATA_DIR",
        )
    else:
        new = existing != shown
        yield good("data directory", f"{shown} {'will be created' if new else 'is writable'}")
    yield _disk(existing, settings.min_free_bytes)


def check_store(settings: Settings) -> Iterator[Finding]:
    """The database opens, and this version can read it."""
    path = settings.database_path
    if not path.exists():
        yield good("database", "none yet; it is created at the first start")
        return
    try:
        found, known = found_schema(path), known_schema()
    except StoreUnavailable as exc:
        yield wrong("database", str(exc), "check the disk and the owner of the file")
        return
    if found > known:
        yield wrong(
            "database",
            f"schema {found}, but this version knows up to {known}",
            "upgrade batchline, or name another data directory",
        )
    elif found < known:
        yield good("database", f"schema {found}; the next start brings it to {known}")
    else:
        yield good("database", f"schema {found}, {figures.size(path.stat().st_size)}")


def check_nginx() -> Iterator[Finding]:
    """The nginx program is there and accepts the configuration that batchline renders."""
    try:
        program = find_nginx()
    except Invalid as exc:
        yield warning("nginx", str(exc), "needed by 'batchline up' only: install nginx")
        return
    with tempfile.TemporaryDirectory(prefix="batchline-doctor-") as folder:
        config = Path(folder) / "nginx.conf"
        log = Path(folder) / "error.log"
        write_nginx(
            config,
            render_nginx(
                ["127.0.0.1:8001"],
                listen=f"unix:{folder}/nginx.sock",
                run_dir=folder,
                error_log=str(log),
            ),
        )
        argv = [*nginx_argv(program, config, error_log=log), "-t"]
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                timeout=_NGINX_S,
                check=False,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            yield wrong("nginx", f"{program} does not run: {exc}", "install nginx again")
            return
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in lines if "[emerg]" in line), lines[-1])
        yield wrong("nginx", f"refuses the rendered configuration: {reason}", "upgrade nginx")
    else:
        yield good("nginx", f"{program} accepts the configuration")


def check_vllm(settings: Settings) -> Iterator[Finding]:
    """What could serve a model on this host: vLLM for its GPUs, or the CPU build."""
    try:
        gpus = detect_gpus(visible=child_environment().get("CUDA_VISIBLE_DEVICES"))
    except Invalid as exc:
        yield wrong("gpus", str(exc), "correct CUDA_VISIBLE_DEVICES, or unset it to use all")
        return
    except (Unavailable, OSError) as exc:
        yield wrong("gpus", str(exc), "mend the NVIDIA driver, or serve with --cpu 2")
        return
    yield good("gpus", ", ".join(gpu.name for gpu in gpus) or "none here")
    vllm, build = _version("vllm"), cpu_build(settings.fleet_cache_dir)
    if vllm:
        yield good("vllm", f"vLLM {vllm}")
    elif gpus:
        yield warning(
            "vllm",
            "there are GPUs here but no vLLM in this environment",
            "pip install 'batchline[vllm]', if model servers shall run on this host",
        )
    elif build.is_complete:
        yield good("vllm", f"CPU build in {build.root}")
    else:
        yield good("vllm", "not installed; 'batchline up' installs the CPU build where it needs it")


def check_port(name: str, host: str, port: int, *, ours: bool) -> Iterator[Finding]:
    """The port is free, or batchline has it (`ours`)."""
    check = f"port {port}"
    if ours:
        yield good(check, f"in use by the {name}")
        return
    refusal = refusal_to_listen(host, port)
    if refusal is None:
        yield good(check, f"free for the {name}")
    else:
        fault = "another program uses it" if refusal.code == errno.EADDRINUSE else refusal.why
        another = f"another address than {host}" if refusal.is_of_host else "another port"
        yield wrong(check, f"the {name} cannot have it: {fault}", f"choose {another} for it")


def _disk(folder: Path, min_free_bytes: int) -> Finding:
    usage = shutil.disk_usage(folder)
    detail = f"{figures.size(usage.free)} of {figures.size(usage.total)} free"
    if usage.free < min_free_bytes:
        kept = f"below {figures.size(min_free_bytes)} uploads are refused and dispatch pauses"
        return wrong(
            "disk", f"{detail}; {kept}", "free some space, or BATCHLINE_MIN_FREE_BYTES down"
        )
    if usage.free < _EMPTY_BYTES:
        return wrong("disk", detail, "free some space: inputs and results are kept here")
    if usage.free < _LOW_BYTES:
        return warning("disk", detail, "large batches need room for their input and results")
    return good("disk", detail)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists."""
    return next(f for f in (folder, *folder.parents) if f.exists())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
