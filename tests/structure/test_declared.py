"""What is declared is used: a setting that nothing reads, or a metric that nothing moves, misleads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from batchline.metrics import Metrics
from batchline.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("batchline", "gateway", "dispatcher", "deliver", "dashboard")
MODULES = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def unused(names, modules):
    """Those that stand in no module as an attribute, `.name`."""
    text = "".join(path.read_text("utf-8") for path in modules)
    return set(names) - set(re.findall(r"\.(\w+)", text))


def test_each_metric_is_used():
    """In another module than the one that declares it."""
    modules = MODULES - {ROOT / "batchline" / "metrics.py"}
    assert unused(vars(Metrics()), modules) == set()


def test_each_setting_is_read():
    """Where it is needed, or where settings.py puts some together."""
    assert unused(Settings.model_fields, MODULES) == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_what_is_locked_is_what_the_package_asks_for(lock):
    """The suite runs on what is locked: bounds that exclude it promise another version than the one tried."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = list(map(Requirement, project["dependencies"]))
    if lock == "requirements-dev.lock":
        asked += map(Requirement, project["optional-dependencies"]["dev"])
    found = re.findall(
        r"^([A-Za-z0-9_.-]+)==([^ ;]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE
    )
    locked = {canonicalize_name(name): version for name, version in found}

    wanted = [one for one in asked if one.marker is None or one.marker.evaluate()]

    assert [
        str(one) for one in wanted if locked[canonicalize_name(one.name)] not in one.specifier
    ] == []
