"""Bytes: the contract is in `base`, the local disk engine in `local`."""

from __future__ import annotations

from .base import Blobs, BlobWriter
from .local import LocalBlobs, open_blobs

__all__ = ["BlobWriter", "Blobs", "LocalBlobs", "open_blobs"]
