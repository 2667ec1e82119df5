"""Model servers that serve other models than most: one was perhaps started with the wrong one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping


def odd_lists(models: Mapping[str, Collection[str]]) -> list[str]:
    """Name the servers whose models differ from those of more than half; server -> what it lists.

    Servers that list nothing do not count. Without such a majority nobody is one: a fleet for two models.
    """
    lists = {name: frozenset(listed) for name, listed in models.items() if listed}
    if not lists:
        return []
    usual, count = Counter(lists.values()).most_common(1)[0]
    if count * 2 <= len(lists):
        return []
    return [name for name, listed in lists.items() if listed != usual]
