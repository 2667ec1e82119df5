"""What a child process gets of our environment. Our own settings are read in `settings.py`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase


def child_environment(
    changes: Mapping[str, str] | None = None,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> dict[str, str]:
    """Return this process's environment for a child, with `changes`.

    `only`: of it, the names that match one of these, where `*` stands for any end. `without`: less these.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in without and (only is None or any(fnmatchcase(name, one) for one in only))
    }
    return kept | dict(changes or {})
