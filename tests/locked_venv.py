"""Virtual environments of other people's programs, made of lock files: once each, then cached."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from batchline.settings import Settings

_STEP_S = 1800  # 1 GB over a slow line


def locked_venv(name: str, lock_file: Path, *options: str) -> Path:
    """Return the folder `name` of the user's cache, with what the lock file names; `options`: more for pip.

    Versions and hashes come from the lock file, addresses from the machine's own pip.
    """
    digest = hashlib.sha256(lock_file.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Settings().fleet_cache_dir.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    venv = cache / f"{name}-{digest}"
    with (cache / f"{name}-{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "whole").exists():
            shutil.rmtree(venv, ignore_errors=True)
            do(sys.executable, "-m", "venv", venv)
            do(
                *(venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--no-compile", "--require-hashes", *options, "-r", lock_file),
            )
            (venv / "whole").touch()
    return venv


def do(*argv, cwd=None) -> None:
    """Run a program to its end. Raises RuntimeError with what it said."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, capture_output=True, text=True, timeout=_STEP_S
    )
    if done.returncode:
        said = (done.stderr + done.stdout)[-4000:]
        raise RuntimeError(f"{' '.join(map(str, argv))} ended with {done.returncode}: {said}")
