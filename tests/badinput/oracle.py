"""What validation must say of an input file: slow, plain, and written from SPEC section 5 with `json`.

Shares no code with the real check, which never builds what it reads.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
NEEDED = {
    "/v1/chat/completions": ("messages",),
    "/v1/completions": ("prompt", "prompt_embeds"),
    "/v1/embeddings": ("input", "messages"),
    "/v1/responses": ("input", "prompt"),
}
WHITE = re.compile(r"[ \t\n\r]*")
LONE = re.compile("[\ud800-\udfff]")


class Verdict(NamedTuple):
    """What the whole file comes to."""

    total: int
    model: str | None
    faults: list
    requests: list


class Request(NamedTuple):
    """One request as it stands in the file."""

    custom_id: str | None
    body: bytes | None


class Bad(NamedTuple):
    """One fault."""

    line: int | None
    code: str
    param: str | None


def judge(data, *, endpoint, line_bytes, served=None, one_model=False):
    """Return total, the one model or None, all faults in order, and the requests as they stand."""
    faults, requests, seen, models = [], [], set(), []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(BOM) if number == 1 else line
        if not text.strip():
            continue
        found = _line(text, endpoint, line_bytes)
        faults += [Bad(number, code, param) for code, param in found["faults"]]
        model = found.get("model")
        if model is not None:
            models.append(model)
            if served is not None and model not in served:
                faults.append(Bad(number, "model_not_found", "body.model"))
            elif one_model and model != models[0]:
                faults.append(Bad(number, "mismatched_model", "body.model"))
        custom_id = found.get("custom_id")
        if custom_id is not None and custom_id in seen:
            faults.append(Bad(number, "duplicate_custom_id", "custom_id"))
        seen.add(custom_id)
        requests.append(Request(custom_id, found.get("body")))
    if not requests:
        faults.append(Bad(None, "empty_file", None))
    model = models[0] if len(set(models)) == 1 else None
    return Verdict(len(requests), model, faults, requests)


def _line(raw, endpoint, line_bytes):
    if len(raw) > line_bytes:
        return {"faults": [("invalid_request", None)]}
    try:
        text = raw.decode("utf-8")
        value = _loads(text)
    except (ValueError, RecursionError):
        return {"faults": [("invalid_json_line", None)]}
    if not isinstance(value, dict):
        return {"faults": [("invalid_request", None)]}
    faults = []
    custom_id = _text(value, "custom_id", faults)
    if custom_id is not None and LONE.search(custom_id):
        faults.append(("invalid_request", "custom_id"))
        custom_id = None
    if _text(value, "method", faults) not in ("POST", None):
        faults.append(("invalid_method", "method"))
    if _text(value, "url", faults) not in (endpoint, None):
        faults.append(("invalid_url", "url"))
    model = _body(value, endpoint, faults)
    return {
        "faults": faults,
        "custom_id": custom_id,
        "model": model and LONE.sub("\ufffd", model),
        "body": _span(text, "body"),
    }


def _body(value, endpoint, faults):
    if "body" not in value:
        faults.append(("missing_required_parameter", "body"))
        return None
    body = value["body"]
    if not isinstance(body, dict):
        faults.append(("invalid_request", "body"))
        return None
    model = _text(body, "model", faults, prefix="body.")
    if body.get("stream") not in (False, None) or type(body.get("stream")) in (int, float):
        faults.append(("streaming_unsupported", "body.stream"))
    needed = NEEDED.get(endpoint, ())
    if needed and not any(name in body for name in needed):
        faults.append(("missing_required_parameter", f"body.{needed[0]}"))
    return model


def _text(value, name, faults, prefix=""):
    if name not in value:
        faults.append(("missing_required_parameter", prefix + name))
        return None
    if not isinstance(value[name], str):
        faults.append(("invalid_request", prefix + name))
        return None
    return value[name]


def _loads(text):
    def refuse(name):
        raise ValueError(name)

    # Numbers may be of any size: their digits are the upstream's business.
    return json.loads(text, parse_constant=refuse, parse_int=_number, parse_float=_number)


def _number(digits):
    return 1.5 if len(digits) > 15 else float(digits)


def _span(text, wanted):
    """Return the bytes of the last member `wanted` of a JSON object, as they stand."""
    decoder = json.JSONDecoder(parse_int=_number, parse_float=_number)
    at = WHITE.match(text, text.index("{") + 1).end()
    found = None
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = WHITE.match(text, WHITE.match(text, at).end() + 1).end()
        _, at = decoder.raw_decode(text, start)
        if name == wanted:
            found = text[start:at]
        at = WHITE.match(text, at).end()
        if text[at] == ",":
            at = WHITE.match(text, at + 1).end()
    return None if found is None else found.encode()
