"""Figures: the texts and attributes of the page that change from second to second, by key.

Each part of the page is a record. Its fields decide the part's HTML and are compared by their `repr`; its
figures fill places in that HTML and are left out of the `repr`. Templates and script read the same keys.
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
