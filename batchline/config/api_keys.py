"""What an API key may be: characters that every HTTP client can send and that people can see. Pure."""

from __future__ import annotations

ALLOWED = (
    "printable ASCII characters, no white space at either end, like those of openssl rand -hex 32"
)


def flaw_of(key: str) -> str | None:
    """Say what makes it no key, or None. The text never repeats any part of it."""
    if not key:
        return "is empty"
    if key.isspace():
        return "holds nothing but white space"
    if key != key.strip():
        return "begins or ends with white space"
    for place, character in enumerate(key, 1):
        if not character.isascii():
            return (
                f"holds a character outside ASCII (the {_nth(place)}); perhaps a typographic quote"
            )
        if not character.isprintable():
            return f"holds a control character (the {_nth(place)}), such as a line break"
    return None


def _nth(place: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th")
