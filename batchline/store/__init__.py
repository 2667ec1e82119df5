"""Rows: who may do what is in `base`, how SQLite does it in `sqlite`, the SQL itself in `sql/`."""

from __future__ import annotations

from .base import Intake, Results, Steering, Store, Upkeep, View, Work
from .sqlite import open_store
from .sqlite_intake import last_report

__all__ = [
    "Intake",
    "Results",
    "Steering",
    "Store",
    "Upkeep",
    "View",
    "Work",
    "last_report",
    "open_store",
]
