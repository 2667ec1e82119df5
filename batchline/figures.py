"""Figures as people read them: the one formatter of the dashboard and the CLI.

Pure and total: an unknown value (None) is an en dash, zero is 0. Percentages are rounded down, so
nothing says 100 % before it is done. Owns no units of measure that the API shows: those stay raw.
"""

from __future__ import annotations

MISSING = "–"

_GROUPED_BELOW = 10_000_000
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_DECIMAL_STEP = 1000
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(n: int | None) -> str:
    """Write a number of things: `634,118`, from ten million on `12.3 M`."""
    if n is None:
        return MISSING
    if abs(n) < _GROUPED_BELOW:
        return f"{n:,}"
    return _scaled(n, ("", "k", "M", "G"))


def percent(done: int, total: int) -> str:
    """Write how far something is: `63.4 %`, rounded down; `100 %` only when `done` is `total`."""
    if total <= 0:
        return MISSING
    if done >= total:
        return "100 %"
    tenths = done * 1000 // total
    return "< 0.1 %" if done and not tenths else f"{tenths // 10}.{tenths % 10} %"


def share(part: int, whole: int) -> str:
    """Write a part of a whole: `0.05 %`; what is not zero never reads as zero (`< 0.01 %`)."""
    if whole <= 0:
        return MISSING
    if part <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    value = 100 * part / whole
    if value < 0.01:  # noqa: PLR2004 - two decimals are what is shown
        return "< 0.01 %"
    if value >= 99.95:  # noqa: PLR2004 - would round to 100.0
        return "99.9 %"
    return f"{_short(value)} %"


def rate(per_s: float | None) -> str:
    """Write things per second with two or three digits: `0.04`, `9.1`, `29.9`, `1,240`, `18.6 k`."""
    if per_s is None:
        return MISSING
    if per_s <= 0:
        return "0"
    if per_s < 0.01:  # noqa: PLR2004 - two decimals are what is shown
        return "< 0.01"
    if per_s < 100:  # noqa: PLR2004 - from here decimals are noise
        return _short(per_s)
    if per_s < 9999.5:  # noqa: PLR2004 - four digits are read at a glance, five are not
        return f"{per_s:,.0f}"
    return _scaled(per_s, ("", "k", "M", "G"))


def duration(seconds: float | None) -> str:
    """Write a length of time with its two largest units: `41 s`, `12 m`, `6 h 03 m`, `3 d 4 h`."""
    if seconds is None:
        return MISSING
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} m"
    if whole < _DAY_S:
        minutes = whole % _HOUR_S // _MINUTE_S
        return f"{whole // _HOUR_S} h" + (f" {minutes:02d} m" if minutes else "")
    hours = whole % _DAY_S // _HOUR_S
    return f"{whole // _DAY_S} d" + (f" {hours} h" if hours else "")


def size(n_bytes: int | None) -> str:
    """Write an amount of storage in decimal units: `812 B`, `1.4 GB`, `583 GB`."""
    if n_bytes is None:
        return MISSING
    return _scaled(n_bytes, _BYTE_UNITS)


def _short(value: float) -> str:
    if value >= 9.95:  # noqa: PLR2004 - 9.95 rounds to 10.0
        return f"{value:.1f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"  # noqa: PLR2004


def _scaled(value: float, units: tuple[str, ...]) -> str:
    scaled, step = float(value), 0
    # 999.5 would be written as 1000 of the smaller unit.
    while abs(scaled) >= _DECIMAL_STEP - 0.5 and step < len(units) - 1:
        scaled /= _DECIMAL_STEP
        step += 1
    if step == 0:
        return f"{scaled:.0f} {units[0]}".rstrip()
    return f"{scaled:.0f} {units[step]}" if abs(scaled) >= 99.95 else f"{scaled:.1f} {units[step]}"  # noqa: PLR2004


def spell(seconds: float) -> str:
    """Write a length of time for a sentence: `40 seconds`, `4 minutes`, `2 h 50 m`."""
    whole = max(0, int(seconds))
    if whole < 60:  # noqa: PLR2004
        return plural(whole, "second")
    if whole < 3600:  # noqa: PLR2004
        return plural(whole // 60, "minute")
    return duration(whole)


def plural(n: int, noun: str) -> str:
    """Write `1 batch`, `3 batches`, `1,286 requests`."""
    if n == 1:
        return f"1 {noun}"
    return f"{count(n)} {noun}{'es' if noun.endswith('ch') else 's'}"


def short_model(model: str) -> str:
    """Drop the organisation: `Qwen/Qwen3-32B` reads as `Qwen3-32B`."""
    return model.rstrip("/").rsplit("/", 1)[-1] or model
