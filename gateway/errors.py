"""The one place where errors become HTTP answers: a table of domain errors, and a middleware.

Every 4xx and 5xx is OpenAI's error object as JSON, below `/v1/messages` Anthropic's, also for unknown routes,
wrong methods and our own faults. Handlers raise; they never build an error answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.api.objects.encoding import encode
from batchline.api.objects.error import error_answer
from batchline.api.parameters import shown
from batchline.errors import (
    BackendFailed,
    BackendSilent,
    BatchlineError,
    Conflict,
    DiskFull,
    Forbidden,
    ForeignOrigin,
    Invalid,
    NewerStore,
    NoBackend,
    NoDescriptors,
    NotFound,
    RequestTooLarge,
    StoreUnavailable,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownHost,
    UnsupportedEncoding,
)
from batchline.jsonl.compression import Coding
from batchline.serving.request_log import REQUESTS

from .answer_headers import has_started, request_id
from .dialects.anthropic.errors import anthropic_error, has_form

log = logging.getLogger(REQUESTS)

_CLIENT, _SERVER = "invalid_request_error", "server_error"
RETRY_AFTER: Mapping[str, str] = {"Retry-After": "2"}
"""Header of answers that say that something is lacking at present."""
_LOGGED_PATH = 60
_KEPT_HEADERS = ("Allow", "Content-Range")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one kind of error."""

    status: HTTPStatus
    type: str = _CLIENT
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


ANSWERS: Mapping[type[BaseException], Answer] = {
    Invalid: Answer(HTTPStatus.BAD_REQUEST),
    TooLarge: Answer(HTTPStatus.BAD_REQUEST),
    RequestTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    UnsupportedEncoding: Answer(  # the header: RFC 9110 §12.5.3
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, headers={"Accept-Encoding": ", ".join(Coding)}
    ),
    NotFound: Answer(HTTPStatus.NOT_FOUND),
    # The SDKs repeat a 409 unless it says that it is final.
    Conflict: Answer(HTTPStatus.CONFLICT, headers={"x-should-retry": "false"}),
    Unauthorized: Answer(
        HTTPStatus.UNAUTHORIZED, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
    ),
    Forbidden: Answer(HTTPStatus.FORBIDDEN),
    UnknownHost: Answer(HTTPStatus.MISDIRECTED_REQUEST, code="unknown_host"),
    ForeignOrigin: Answer(HTTPStatus.FORBIDDEN, code="foreign_origin"),
    Unavailable: Answer(HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, headers=RETRY_AFTER),
    StoreUnavailable: Answer(HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, headers=RETRY_AFTER),
    NoBackend: Answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        _SERVER,
        code="no_backend",
        headers=RETRY_AFTER,
    ),
    NoDescriptors: Answer(HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, headers=RETRY_AFTER),
    BackendFailed: Answer(HTTPStatus.BAD_GATEWAY, _SERVER, code="backend_failed"),
    BackendSilent: Answer(HTTPStatus.GATEWAY_TIMEOUT, _SERVER, code="request_timeout"),
    # Deleting something makes room, asking again at once does not.
    DiskFull: Answer(
        HTTPStatus.INSUFFICIENT_STORAGE,
        _SERVER,
        code="insufficient_storage",
        headers={"x-should-retry": "false"},
    ),
    NewerStore: Answer(  # an upgrade is under way: this process is about to be restarted
        HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, headers=RETRY_AFTER
    ),
    BatchlineError: Answer(HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER),
}
_UNEXPECTED = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER)
_BROKEN_BODY_MESSAGE = (
    "We could not read the body of your request: its chunks are broken, or it ended early."
)
_UNEXPECTED_MESSAGE = (
    "The server had an error while processing your request. Its log tells more under the request id "
    "of this answer's x-request-id header."
)


def answer_for(exc: BatchlineError) -> Answer:
    """Look up the error by its classes, the nearest first."""
    return next(ANSWERS[cls] for cls in type(exc).__mro__ if cls in ANSWERS)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an error object."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < HTTPStatus.BAD_REQUEST:
            raise
        return http_answer(request, exc)
    except BatchlineError as exc:
        if has_started(request):
            raise
        return _domain_answer(request, exc)
    except web.RequestPayloadError:
        answer = _json(request, ANSWERS[Invalid], _BROKEN_BODY_MESSAGE)
        answer.force_close()
        return answer
    except ConnectionError:
        raise  # the client has gone
    except Exception:
        if has_started(request):
            raise  # aiohttp logs it and cuts the connection, so that the client sees a torn answer
        log.exception("%s: %s %s failed", request_id(request), request.method, _path(request))
        return _json(request, _UNEXPECTED, _UNEXPECTED_MESSAGE)


def _path(request: web.Request) -> str:
    """Return the beginning of the path as it was sent: unescaped, it could add false log lines."""
    return request.rel_url.raw_path[:_LOGGED_PATH]


def _domain_answer(request: web.Request, exc: BatchlineError) -> web.Response:
    answer = answer_for(exc)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s: %s %s: %s", request_id(request), request.method, _path(request), exc)
    return _json(
        request,
        answer,
        str(exc),
        param=getattr(exc, "param", None),
        code=getattr(exc, "code", None) or answer.code,
    )


def http_answer(request: web.BaseRequest, exc: web.HTTPException) -> web.Response:
    """Answer for an error that aiohttp itself raised."""
    headers = {name: exc.headers[name] for name in _KEPT_HEADERS if name in exc.headers}
    answer = Answer(
        HTTPStatus(exc.status),
        _SERVER if exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR else _CLIENT,
        headers=headers,
    )
    match exc:
        case web.HTTPMethodNotAllowed():
            message = (
                f"Not allowed to {shown(request.method)} on {shown(request.path)}. "
                f"Allowed: {', '.join(sorted(exc.allowed_methods))}."
            )
            return _json(request, answer, message, code="method_not_supported")
        case web.HTTPRequestEntityTooLarge():
            return _json(request, answer, f"The request body is too large. {exc.text} Send less.")
        case web.HTTPExpectationFailed():
            return _json(
                request,
                answer,
                "Cannot meet what the header 'Expect' asks for. Supported values are: "
                "'100-continue', or leave it out.",
            )
        case web.HTTPNotFound():
            return _json(
                request, answer, f"Invalid URL ({shown(request.method)} {shown(request.path)})"
            )
        case _:
            return _json(request, answer, exc.reason)


def malformed_answer(request: web.BaseRequest, status: int, reason: str) -> web.Response:
    """Answer for a request that never reached a handler, since it is not proper HTTP or there is no room."""
    kind = _SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _CLIENT
    first_line = reason.partition("\n")[0].rstrip(": ")
    return _json(request, Answer(HTTPStatus(status), kind), first_line)


def _json(
    request: web.BaseRequest,
    answer: Answer,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
) -> web.Response:
    text = message or _UNEXPECTED_MESSAGE
    return web.Response(
        status=answer.status,
        body=encode(
            anthropic_error(answer.status, text, request_id=request_id(request))
            if has_form(request.path)
            else error_answer(text, kind=answer.type, param=param, code=code)
        ),
        content_type="application/json",
        headers=answer.headers,
    )
