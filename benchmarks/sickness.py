"""How model servers are sick: what each form of it answers to every line, and what a well server answers.

Plain records, for the benchmark beside it, the tests and the chaos harness. A sick server passes its health
check; it is told by its answers alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

MODEL = "m"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
SCORE, RERANK = "/v1/score", "/v1/rerank"
_ERRORS = "answers nothing but errors"
_HTML = "text/html"
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@dataclass(frozen=True, slots=True)
class Form:
    """One way to be sick."""

    name: str
    status: int
    body: bytes = b""
    reason: str = _ERRORS
    """What `/ready` says of a fleet that has nothing but such a server; empty: nothing."""
    kind: str = "application/json"
    endpoint: str = CHAT
    headers: dict[str, str] = field(default_factory=dict)
    bars_models: bool = False
    """Its list of models is refused, too."""


def _object(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _error(status: int, message: str, kind: str = "BadRequestError", **fields: object) -> bytes:
    error = {"message": message, "type": kind, "param": None, "code": status} | fields
    return _object(error=error)


def _flat(status: int, message: str) -> bytes:
    return _object(object="error", message=message, type="Error", param=None, code=status)


def _page(title: str) -> bytes:
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1><hr>nginx</body></html>"
    return page.encode()


def _chat(**choice: object) -> bytes:
    """A chat completion whose only choice is this."""
    return _object(id="c", object="chat.completion", choices=[{"index": 0} | choice], usage=_USAGE)


def _message(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _embeddings(*vectors: str) -> bytes:
    """Embeddings as text: JSON has no NaN, and servers send it all the same."""
    data = ", ".join(f'{{"index": {n}, "embedding": {v}}}' for n, v in enumerate(vectors))
    return f'{{"object": "list", "data": [{data}], "usage": {{"prompt_tokens": 7}}}}'.encode()


def _scores(*scores: float | None) -> bytes:
    return _object(object="list", data=[{"index": n, "score": s} for n, s in enumerate(scores)])


_NO_MODEL = f"The model `{MODEL}` does not exist."
_NAN = "Out of range float values are not JSON compliant: nan"
_HTTPS = "400 The plain HTTP request was sent to HTTPS port"
_FOREIGN = "no model server's answer"
_LOGIN = "https://login.example/"

FORMS = (
    Form("401", 401, _object(error="Unauthorized"), "refuses our key (401)", bars_models=True),
    Form("403", 403, _error(403, "Forbidden"), "refuses our key (403)", bars_models=True),
    Form("404 bare", 404, _object(detail="Not Found"), f"has no {CHAT} (404)"),
    Form(
        "404 model",
        404,
        _error(404, _NO_MODEL, "NotFoundError", param="model"),
        f"serves {MODEL}",
    ),
    Form("302", 302, _page("Found"), f"to {_LOGIN}", kind=_HTML, headers={"Location": _LOGIN}),
    Form(
        "413 HTML",
        413,
        _page("413 Request Entity Too Large"),
        "as too large (413)",
        kind=_HTML,
    ),
    Form("500", 500, _error(500, "The engine stumbled.", "InternalServerError")),
    Form("503 full", 503, _error(503, "The waiting queue is full.", "ServiceUnavailable"), ""),
    Form("200 {}", 200, b"{}"),
    Form("200 no choices", 200, _object(object="chat.completion", choices=[])),
    Form("finish_reason error", 200, _chat(message=_message(""), finish_reason="error")),
    Form(
        "response cancelled",
        200,
        _object(id="r", object="response", status="cancelled", output=[]),
        endpoint=RESPONSES,
    ),
    Form("embeddings NaN", 200, _embeddings("[NaN, NaN]", "[NaN, NaN]"), endpoint=EMBEDDINGS),
    Form("embeddings null", 200, _embeddings("[null, null]", "[null, null]"), endpoint=EMBEDDINGS),
    Form("400 NaN", 400, _error(400, _NAN)),
)
"""The fourteen forms; NaN comes in two spellings."""

OTHERS = (
    Form("407", 407, _page("Proxy Authentication Required"), "(407)", kind=_HTML),
    Form("511", 511, _page("Network Authentication Required"), "(511)", kind=_HTML),
    Form("402", 402, _error(402, "No credit."), "wants to be paid first (402)"),
    Form("400 HTTPS", 400, _page(_HTTPS), f"400 and “{_HTTPS}", kind=_HTML),
    Form("400 text", 400, b"Client sent an HTTP request to an HTTPS server.", _FOREIGN),
    Form("400 empty", 400, b"", _FOREIGN),
    Form("421 HTML", 421, _page("421 Misdirected Request"), _FOREIGN, kind=_HTML),
    Form("426 empty", 426, b"", _FOREIGN),
    Form("431 HTML", 431, _page("Request Header Fields Too Large"), _FOREIGN, kind=_HTML),
    Form("501 HTML", 501, _page("Unsupported method (POST)"), _FOREIGN, kind=_HTML),
    Form("404 HTML", 404, _page("404 Not Found"), f"has no {CHAT} (404)", kind=_HTML),
    Form("404 empty", 404, b"", f"has no {CHAT} (404)"),
    Form("405 bare", 405, _object(detail="Method Not Allowed"), f"has no {CHAT} (405)"),
    Form(
        "404 model, by its code",
        404,
        _error(404, "No such deployment here.", code="model_not_found"),
        f"serves {MODEL}",
    ),
    Form("404 model, flat", 404, _flat(404, _NO_MODEL), f"serves {MODEL}"),
    Form("308", 308, b"", "to /v2/chat", headers={"Location": "/v2/chat"}),
    Form("301 to nowhere", 301, b"", "redirects"),
    Form("413 empty", 413, b"", "as too large (413)"),
    Form("500 HTML", 500, _page("500 Internal Server Error"), kind=_HTML),
    Form("500 empty", 500, b""),
    Form("502 of its own", 502, _page("502 Bad Gateway"), kind=_HTML),
    Form("429", 429, b"", ""),
    Form("529", 529, _error(529, "Overloaded", "overloaded_error"), ""),
    Form("200 HTML", 200, _page("Welcome"), kind=_HTML),
    Form("200 empty", 200, b""),
    Form("200 array", 200, b"[]"),
    Form("200 echo", 200, _object(model=MODEL, messages=[{"role": "user", "content": "q"}])),
    Form("200 error", 200, _error(500, "The engine stumbled.")),
    Form("choices null", 200, _object(choices=None)),
    Form("choice without message", 200, _chat(finish_reason="stop")),
    Form("finish_reason abort", 200, _chat(message=_message("Once"), finish_reason="abort")),
    Form("finish_reason unknown", 200, _chat(message=_message(""), finish_reason="evicted")),
    Form("text choice without text", 200, _chat(finish_reason="stop"), endpoint=COMPLETIONS),
    Form(
        "response failed",
        200,
        _object(id="r", object="response", status="failed", error=None, output=[]),
        endpoint=RESPONSES,
    ),
    Form(
        "response in progress",
        200,
        _object(id="r", object="response", status="in_progress", output=[]),
        endpoint=RESPONSES,
    ),
    Form("embeddings too few", 200, _embeddings("[0.5, 0.5]"), endpoint=EMBEDDINGS),
    Form("embeddings none", 200, _embeddings(), endpoint=EMBEDDINGS),
    Form("embeddings infinite", 200, _embeddings("[1, 1]", "[1, 1e999]"), endpoint=EMBEDDINGS),
    Form("scores null", 200, _scores(None, None), endpoint=SCORE),
    Form("scores too few", 200, _scores(0.5), endpoint=SCORE),
    Form("ranks missing", 200, _object(id="r", model=MODEL), endpoint=RERANK),
    Form(
        "ranks null",
        200,
        _object(results=[{"index": n, "relevance_score": None} for n in range(2)]),
        endpoint=RERANK,
    ),
    Form("400 CUDA", 400, _error(400, "CUDA out of memory. Tried to allocate 2.00 GiB.")),
    Form("400 NaN, flat", 400, _flat(400, _NAN)),
    Form("400 device", 400, _error(400, "CUDA error: device-side assert triggered")),
)
"""More of the same kinds."""


def request(endpoint: str, text: str, *, model: str = MODEL) -> dict[str, object]:
    """Return the body of a request; embeddings, scores and ranks ask for two entries."""
    match endpoint:
        case "/v1/chat/completions":
            return {"model": model, "messages": [{"role": "user", "content": text}]}
        case "/v1/completions":
            return {"model": model, "prompt": text}
        case "/v1/score":
            return {"model": model, "text_1": text, "text_2": ["a", "b"]}
        case "/v1/rerank":
            return {"model": model, "query": text, "documents": ["a", "b"]}
        case "/v1/embeddings":
            return {"model": model, "input": [text, "b"]}
        case _:
            return {"model": model, "input": text}


def answer(endpoint: str) -> bytes:
    """Return what a well server answers to such a request."""
    match endpoint:
        case "/v1/chat/completions":
            return _chat(message=_message("All is well."), finish_reason="stop")
        case "/v1/completions":
            return _chat(text="All is well.", finish_reason="length")
        case "/v1/score":
            return _scores(0.5, 0.25)
        case "/v1/rerank":
            return _object(results=[{"index": n, "relevance_score": 0.5} for n in range(2)])
        case "/v1/embeddings":
            return _embeddings("[0.5, 0.25]", "[0.25, 0.5]")
        case _:
            return _object(id="r", object="response", status="completed", output=[{}])
