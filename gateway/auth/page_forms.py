"""The forms of our own pages: small, and with the token of the session where they change something."""

from __future__ import annotations

from urllib.parse import parse_qs

from aiohttp import web

from batchline.errors import Forbidden, Invalid
from gateway.forms.content_disposition import read_header
from gateway.transfer.body import read_body

from .middleware import CALLER

_MOST_BYTES = 16 << 10
_MOST_FIELDS = 8


async def own_form(request: web.Request) -> dict[str, str]:
    """Read a form that changes something. Raises Invalid; Forbidden without the token of the session."""
    fields = await read_form(request)
    session = request[CALLER].session
    if session is not None and not session.has_token(fields.get("token")):
        raise Forbidden("Use the button of the page, and load the page anew if it is old.")
    return fields


async def read_form(request: web.Request) -> dict[str, str]:
    """Read the fields of a form, of each the first value. Raises Invalid."""
    kind, _ = read_header(request.headers.get("Content-Type", ""))
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("Send a form (application/x-www-form-urlencoded), as the page does.")
    body = await read_body(request, max_bytes=_MOST_BYTES)
    try:
        fields = parse_qs(body.decode(), max_num_fields=_MOST_FIELDS)
    except ValueError as exc:  # not UTF-8, or too many fields
        raise Invalid("This form cannot be read: send the fields that the page has.") from exc
    return {name: values[0] for name, values in fields.items()}
