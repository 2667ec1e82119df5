"""batchline: a self-hosted, OpenAI-compatible Batch API for your own GPUs."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("batchline")
