"""Figures by key: what the page shows of them, and where.

A part is a record of two things. Its structure, compared by its `repr`, decides its HTML; its figures, left
out of the `repr`, fill places in that HTML and change from second to second. A template names a key once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import drawing

Figures = Mapping[str, str]


def under(prefix: str, figures: Figures) -> Figures:
    """Put a prefix before every key: `b.1` and `done` make `b.1.done`."""
    return {f"{prefix}.{key}": text for key, text in figures.items()}


def merged(several: Iterable[Figures]) -> Figures:
    """Put figures with different keys together."""
    return {key: text for figures in several for key, text in figures.items()}


def curve(prefix: str, values: Sequence[float | None], *, top: float | None = None) -> Figures:
    """Draw a curve: its line and the area under it."""
    drawn = drawing.curve(values, top=top)
    return under(prefix, {"line": drawn.line, "area": drawn.area})
