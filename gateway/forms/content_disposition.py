"""Header values with parameters, such as `form-data; name="file"; filename="a.jsonl"`. Pure.

Reads what clients send, which is more than the grammar allows (RFC 9110 §5.6.6, RFC 7578 §4.2): names in raw
UTF-8 or as RFC 8187 writes them, missing quotes, backslashes that escape nothing. The readers of
aiohttp and of Python's e-mail package misread some of these, and take up to seconds for a hostile header
(docs/decisions/025-libraries-or-by-hand.md).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

# Repetitions are possessive (`++`): with backtracking a few characters could take years.
_PARAMETER = re.compile(
    r""";\s*+([\w*-]++)\s*+=\s*+(?:
        "((?:[^"\\]|\\.)*+)"  # quoted, backslashes escape
        |"([^"]*+)"           # quoted, its last character is a backslash: browsers escape nothing
        |([^;]*+)             # bare, or a quote that is never closed
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r'\\(["\\])')


def read_header(value: str) -> tuple[str, dict[str, str]]:
    """Split a header value into its first word, in lower case, and its parameters by name in lower case.

    The last of several with one name counts.
    """
    word = value.partition(";")[0].strip().lower()
    return word, {found[1].lower(): _text(found) for found in _PARAMETER.finditer(value)}


def read_disposition(value: str) -> dict[str, str]:
    """Read the parameters of a part's Content-Disposition, `filename*` as `filename`."""
    _, found = read_header(value)
    if "filename*" in found:  # RFC 7578 forbids it, but some clients send it
        found["filename"] = unquote(found["filename*"].split("'", 2)[-1])
    elif "filename" in found:
        found["filename"] = _without_percents(found["filename"])
    return found


def _without_percents(text: str) -> str:
    """Undo the three escapes of browsers, curl and httpx (WHATWG HTML, multipart/form-data encoding)."""
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _text(found: re.Match[str]) -> str:
    escaped, plain, bare = found[2], found[3], found[4]
    if escaped is not None:
        return _ESCAPED.sub(r"\1", escaped)
    return bare.strip() if plain is None else plain
