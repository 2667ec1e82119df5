"""JSON that is nested almost too deeply: read with as much room as whoever checked it had.

How deep a decoder goes depends on how deep its caller is in calls already. What passed a check at one place
could so be too much for a reader at another.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_checked(decode: Callable[[bytes], T], text: bytes) -> T:
    """Decode what passed a check; where there is too little room here, in a thread of its own.

    Raises ValueError where even that is too little, and whatever else `decode` raises.
    """
    try:
        return decode(text)
    except RecursionError:
        with ThreadPoolExecutor(1) as alone:
            try:
                return alone.submit(decode, text).result()
            except RecursionError as exc:
                raise ValueError("It is nested too deeply.") from exc
