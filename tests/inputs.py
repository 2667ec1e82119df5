"""Input files for tests: good lines, and one of every kind of broken line."""

from __future__ import annotations

import itertools
import json

ENDPOINT = "/v1/chat/completions"
BODY = {"model": "m", "messages": []}


_numbers = itertools.count()


def line(**changes):
    """One line, with a custom_id of its own unless told otherwise."""
    whole = {
        "custom_id": f"a{next(_numbers)}",
        "method": "POST",
        "url": ENDPOINT,
        "body": BODY,
    } | changes
    return json.dumps({k: v for k, v in whole.items() if v is not ...}).encode()


def body(**changes):
    return {k: v for k, v in (BODY | changes).items() if v is not ...}


BROKEN = {
    "not json": (b"nonsense", "invalid_json_line", None),
    "cut short": (line()[:-5], "invalid_json_line", None),
    "trailing comma": (line().replace(b'"m"', b'"m",}'), "invalid_json_line", None),
    "two documents": (line() + b" {}", "invalid_json_line", None),
    "NaN": (line().replace(b'"m"', b"NaN"), "invalid_json_line", None),
    "raw control character": (line().replace(b'"m"', b'"m\x01"'), "invalid_json_line", None),
    "NUL": (line().replace(b'"m"', b'"m\x00"'), "invalid_json_line", None),
    "invalid UTF-8": (line().replace(b'"m"', b'"m\xff"'), "invalid_json_line", None),
    "UTF-16": (line().decode().encode("utf-16"), "invalid_json_line", None),
    "deep nesting": (
        line().replace(b'"m"', b"[" * 4000 + b"]" * 4000),
        "invalid_json_line",
        None,
    ),
    "an array": (b"[1]", "invalid_request", None),
    "a number": (b"7", "invalid_request", None),
    "no custom_id": (line(custom_id=...), "missing_required_parameter", "custom_id"),
    "custom_id a number": (line(custom_id=7), "invalid_request", "custom_id"),
    "custom_id null": (line(custom_id=None), "invalid_request", "custom_id"),
    "no method": (line(method=...), "missing_required_parameter", "method"),
    "GET": (line(method="GET"), "invalid_method", "method"),
    "no url": (line(url=...), "missing_required_parameter", "url"),
    "another url": (line(url="/v1/embeddings"), "invalid_url", "url"),
    "url with a slash": (line(url=ENDPOINT + "/"), "invalid_url", "url"),
    "no body": (line(body=...), "missing_required_parameter", "body"),
    "body a string": (line(body="x"), "invalid_request", "body"),
    "no model": (line(body=body(model=...)), "missing_required_parameter", "body.model"),
    "model a number": (line(body=body(model=3)), "invalid_request", "body.model"),
    "no messages": (line(body=body(messages=...)), "missing_required_parameter", "body.messages"),
    "stream": (line(body=body(stream=True)), "streaming_unsupported", "body.stream"),
    "too long": (line(body=body(x="y" * 20_000)), "invalid_request", None),
}


def requests(count, model="m"):
    """Make the bytes of an input file."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"id-{i}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": model,
                    "messages": [{"role": "user", "content": f"q{i}"}],
                    "tag": f"t{i}",
                },
            }
        ).encode()
        + b"\n"
        for i in range(count)
    )
