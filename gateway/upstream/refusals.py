"""Answers of the upstream that are no success: OpenAI's errors as they are, all others in OpenAI's form."""

from __future__ import annotations

from http import HTTPStatus

import aiohttp

from batchline.errors import BackendFailed, NoBackend
from batchline.fleet.nginx import GROUP
from batchline.jsonl.result_lines import error_object

from .session import BROKEN, fault

_MAX_ERROR_BYTES = 1 << 20


async def refusal(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer of 300 or more; return OpenAI's error object, at most 1 MiB, for the same status.

    Raises NoBackend; BackendFailed for a redirect or a loss; BackendSilent.
    """
    if answer.headers.get("X-Upstream") == GROUP:
        raise NoBackend("No model server is in service at present. Try again later.")
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise BackendFailed(
            f"The upstream redirects ({answer.status}) instead of answering. The operator must set "
            "BATCHLINE_UPSTREAM_URL to the address that answers."
        )
    body = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            body += chunk[: _MAX_ERROR_BYTES - len(body)]
    except BROKEN as exc:
        raise fault(exc) from exc
    return error_object(answer.status, bytes(body))
