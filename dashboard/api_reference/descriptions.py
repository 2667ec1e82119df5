"""The little Markdown that descriptions use: paragraphs, `code`, **bold** and links. All else is escaped."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_SPAN = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[([^\[\]]+)\]\(([/#][^)\s]*)\)")
_BLANK_LINES = re.compile(r"\n\s*\n")


def inline(text: str) -> Markup:
    """Write one paragraph's spans as HTML; links lead only within this server."""
    parts, end = [], 0
    for found in _SPAN.finditer(text):
        parts += [escape(text[end : found.start()]), _span(*found.groups())]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def paragraphs(text: str) -> Markup:
    """Write paragraphs, separated by blank lines, as HTML."""
    blocks = [" ".join(block.split()) for block in _BLANK_LINES.split(text) if block.strip()]
    return Markup("").join(Markup("<p>{}</p>").format(inline(block)) for block in blocks)


def _span(code: str | None, bold: str | None, label: str | None, target: str | None) -> Markup:
    if code is not None:
        return Markup("<code>{}</code>").format(code)
    if bold is not None:
        return Markup("<b>{}</b>").format(bold)
    return Markup('<a href="{}">{}</a>').format(target, label)
