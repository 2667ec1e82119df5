"""What is declared is used: a setting that nothing reads, or a metric that nothing moves, misleads."""

from __future__ import annotations

import re
from pathlib import Path

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
