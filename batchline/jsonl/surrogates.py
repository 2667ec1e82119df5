r"""Escaped halves of a surrogate pair (`\ud800`), which JSON's grammar allows and decoders refuse."""

from __future__ import annotations

import re

# Escapes in JSON text, the pairs of surrogates and the halves told apart.
_ESCAPE = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"


def without_lone_surrogates(text: bytes) -> bytes:
    """Replace each escaped half of a surrogate pair by U+FFFD; the length stays.

    JSON's grammar allows a half, so such a line is legal and goes out as it is; the decoder refuses it.
    """
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda found: _REPLACEMENT if found[2] else found[0], text)
