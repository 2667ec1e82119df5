"""Backends that list other models than most: somebody may have started them with the wrong one."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from batchline.odd_model_lists import odd_lists

log = logging.getLogger(__name__)


class OddLists:
    """Names each such backend once, in the log."""

    def __init__(self) -> None:
        self._known: list[str] = []

    def compare(self, lists: Mapping[str, frozenset[str]]) -> None:
        """Take in what each backend lists now."""
        odd = odd_lists(lists) if len({models for models in lists.values() if models}) > 1 else []
        for name in odd:
            if name not in self._known:
                log.warning(
                    "backend %s serves other models than most: %s", name, ", ".join(lists[name])
                )
        self._known = odd
