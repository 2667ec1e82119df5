"""The store's contract on SQLite: one module for each of its protocols, each method a short transaction.

`webhooks` has two of them; `kept_bytes` keeps bytes and rows of one moment together. This package is an
`Engine`.
"""

from __future__ import annotations

from .audit import open_audit, open_mending
from .engine import open_store
from .kept_bytes import bytes_kept
from .view import last_report

__all__ = ["bytes_kept", "last_report", "open_audit", "open_mending", "open_store"]
