"""Reading results: from segments while a batch runs (`settled`), then from its files (`published`)."""

from __future__ import annotations

from .pieces import Window
from .reader import Reader
from .settled import KnownPlaces

__all__ = ["KnownPlaces", "Reader", "Window"]
