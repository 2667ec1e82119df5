"""How long a batch may take: `completion_window`, whole hours or days. Pure; raises Invalid."""

from __future__ import annotations

import re

from batchline.errors import Invalid

from . import parameters

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONG_UNITS = "hd"
_MAX_WINDOW_S = 14 * 86400
_WINDOW = re.compile(r"([1-9][0-9]{0,6})([smhd])")


def window_seconds(window: str, *, lowest_s: int) -> int:
    """Read a completion window: `24h`, or whole hours or days from `lowest_s` to 14 days.

    Seconds and minutes are accepted where `lowest_s` is below an hour. Raises Invalid.
    """
    units = "smhd" if lowest_s < _UNIT_S["h"] else _LONG_UNITS
    found = _WINDOW.fullmatch(window)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found and found[2] in units else 0
    if not lowest_s <= seconds <= _MAX_WINDOW_S:
        words = "hours or days" if units == _LONG_UNITS else "seconds, minutes, hours or days"
        raise Invalid(
            f"Invalid value: '{parameters.shown(window)}'. Supported values are: '24h', or any "
            f"whole number of {words} from '{_lowest(lowest_s, units)}' to '14d'.",
            param="completion_window",
            code="invalid_value",
        )
    return seconds


def _lowest(seconds: int, units: str) -> str:
    """Write the shortest window that is allowed: in hours where only whole hours are."""
    if units == _LONG_UNITS:
        return f"{-(-seconds // _UNIT_S['h'])}h"
    unit = "m" if seconds % _UNIT_S["m"] == 0 else "s"
    return f"{seconds // _UNIT_S[unit]}{unit}"
