"""Rows: who may do what is in `base`, how SQLite does it in `sqlite`, the SQL itself in `sql/`."""

from __future__ import annotations

from batchline.store.sqlite.engine import open_store
from batchline.store.sqlite.intake import last_report

from .base import Intake, Results, Steering, Store, Upkeep, View, Work

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
