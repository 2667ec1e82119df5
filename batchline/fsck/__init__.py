"""Proving a data directory: `examine` looks at everything, `repair` mends what can be mended."""

from __future__ import annotations
