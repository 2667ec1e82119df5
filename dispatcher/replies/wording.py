"""What a reply says of its backend, in a few words for people: reasons on the dashboard and in the log."""

from __future__ import annotations

import re
from http import HTTPStatus

from batchline import figures

from .error_texts import Body, model_of
from .kinds_of_failure import signature_of
from .policy import Reason
from .upstream import NGINX_GROUP, Break, Broken, Reply

_LOGINS = {
    402: "wants to be paid first (402): check the account of BATCHLINE_UPSTREAM_API_KEY",
    407: "a proxy before it asks for a login (407)",
    511: "its network asks for a login (511)",
}
_SHOWN_CHARS = 160
_QUOTED_CHARS = 80
_READ_BYTES = 2000
_TAG = re.compile(r"<[^<>]*>")


def why_of(reply: Reply | Broken, reason: Reason, *, endpoint: str, request: Body) -> str:
    """Say what the backend did."""
    if isinstance(reply, Broken):
        does = "takes no connections" if reply.how is Break.CONNECT else "broke off"
        return f"{does} ({reply.detail})"
    if reply.backends == (NGINX_GROUP,):
        return "takes no connections"
    return _words(reply, reason, endpoint, request) or _signature(reply, reason)


def _words(reply: Reply, reason: Reason, endpoint: str, request: Body) -> str | None:
    """Say what is the operator's matter; None where it is none."""
    status = reply.status
    where = (reply.location or "nowhere")[:_SHOWN_CHARS]
    model = (model_of(request) or "")[:_SHOWN_CHARS] if reason is Reason.MODEL_MISSING else ""
    foreign = (
        f"answers {endpoint} with {status} and {_page(reply.body)}, which is no model server's "
        "answer: check its address, and the proxies before it"
    )
    return {
        Reason.KEY_REFUSED: _LOGINS.get(
            status, f"refuses our key ({status}): check BATCHLINE_UPSTREAM_API_KEY"
        ),
        Reason.REDIRECTED: (
            f"redirects {endpoint} to {where} ({status}): name the address that answers itself"
        ),
        Reason.NO_ENDPOINT: f"has no {endpoint} ({status}): start a server that offers it",
        Reason.BODY_REFUSED: (
            f"refuses requests of {figures.size(len(request))} as too large ({status}): "
            "raise the limit of the proxy before it"
        ),
        Reason.NO_SERVER: foreign,
        Reason.FOREIGN: foreign,
        Reason.MODEL_MISSING: f"does not know the model {model} ({status})",
    }.get(reason)


def _page(body: bytes) -> str:
    """Quote what a page shows, without its marks."""
    text = _TAG.sub(" ", body[:_READ_BYTES].decode("utf-8", "replace"))
    shown = " ".join(text.split())[:_QUOTED_CHARS]
    return f"“{shown}”" if shown else "nothing"


def _signature(reply: Reply, reason: Reason) -> str:
    if reply.status < HTTPStatus.MULTIPLE_CHOICES:
        return f"{reply.status} without an answer: {reason}"
    return str(signature_of(reply.status, reply.body))[:_SHOWN_CHARS]
