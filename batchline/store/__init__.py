"""Rows: the contract is in `base`, `work` and `audit`, an engine is what `engine` says; `sqlite` is one.

Whoever uses the store imports from here, and names no engine.
"""

from __future__ import annotations

from . import sqlite
from .audit import Audit
from .base import Intake, Results, Uploads, View
from .engine import Engine, Mending, Store
from .webhooks import Endpoints, Outbox
from .work import Conduct, Leases, Outcomes, Upkeep, Work

ENGINE: Engine = sqlite
open_store = ENGINE.open_store
open_audit = ENGINE.open_audit
open_mending = ENGINE.open_mending
bytes_kept = ENGINE.bytes_kept
last_report = ENGINE.last_report

__all__ = [
    "Audit",
    "Conduct",
    "Endpoints",
    "Engine",
    "Intake",
    "Leases",
    "Mending",
    "Outbox",
    "Outcomes",
    "Results",
    "Store",
    "Upkeep",
    "Uploads",
    "View",
    "Work",
    "bytes_kept",
    "last_report",
    "open_audit",
    "open_mending",
    "open_store",
]
