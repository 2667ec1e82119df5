"""batchline: a self-hosted, OpenAI-compatible Batch API for your own GPUs."""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: importlib.metadata is half a short command's start."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415 - the point of this function

    return version("batchline")
