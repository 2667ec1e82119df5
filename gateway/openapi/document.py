"""Joins the parts to one OpenAPI document.

Spells out the short forms of `paths/*.yaml` (`errors:`, `samples:`) and adds what every answer shares, so
that the files hold only what is particular to an operation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPMethod
from importlib.resources import files
from itertools import chain
from typing import Any

import yaml

from batchline import __version__
from batchline.settings import Settings
from gateway.dialects.anthropic.errors import REQUEST_ID, error_type, has_form

from .schemas import component_parameters, component_schemas, reference

Tree = dict[str, Any]

_METHODS = frozenset(method.lower() for method in HTTPMethod)
_STORED = frozenset({"Files", "Uploads", "Batches", "Responses", "Message Batches"})
"""Tags of operations that use the disk."""
_PASSED_ON = "Interactive"
_OPERATORS = "Server"
_TOO_LARGE = 413
_LANGUAGES = {"curl": "curl", "python": "Python"}
_EXAMPLE_ID = "req_66f1c2a4b0d84c0c9a51b7a3f2e4d6c8"
_OPEN = "/health"
_WATCHED = ("/ready", "/metrics")
_ERROR_HEADERS = {
    "401": {"WWW-Authenticate": "Authenticate"},
    "409": {"x-should-retry": "ShouldRetry"},
    "415": {"Accept-Encoding": "AcceptEncoding"},
    "503": {"Retry-After": "RetryAfter"},
    "507": {"x-should-retry": "ShouldRetry"},
}


def openapi_document(settings: Settings) -> Tree:
    """Build the document of a server with these settings: its key, its limits."""
    frame: Tree = _read("frame.yaml")
    schemas: Tree = _read("schemas.yaml")
    common: Tree = frame.pop("common")
    for case in chain.from_iterable(c for errors in common.values() for c in errors.values()):
        case["is_shared"] = True
    components = frame["components"]
    components["schemas"] = component_schemas(schemas, settings)
    components["parameters"] |= component_parameters()
    frame["info"] |= {"version": __version__, "x-limits": _limits(settings)}
    paths = dict(_paths())
    if not settings.serve_metrics:
        del paths["/metrics"]
    for path, method, operation in _operations(paths):
        kinds = set(_kinds(path, method, operation))
        shared = [errors for kind, errors in common.items() if kind in kinds]
        operation["security"] = list(_security(path, settings))
        schema = "PassedError" if "passed" in kinds else "ErrorAnswer"
        _spell_out(operation, shared, schema="AnthropicError" if has_form(path) else schema)
    return frame | {"paths": paths, "components": components}


def _operations(paths: Mapping[str, Tree]) -> Iterable[tuple[str, str, Tree]]:
    for path, item in paths.items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _kinds(path: str, method: str, operation: Tree) -> Iterable[str]:
    """Return the traits of an operation: its common errors, and whether it passes errors on."""
    yield "any"
    if method != "get":
        yield "changing"
    if _PASSED_ON in operation["tags"]:
        yield "passed"
    if path != _OPEN:
        yield "locked"
    if _OPERATORS not in operation["tags"]:
        yield "api"
        if method != "get" and not _STORED.isdisjoint(operation["tags"]):
            yield "stored"
    if "requestBody" in operation:
        yield "body"
        has_own_limit = _TOO_LARGE in operation.get("errors", {})
        if "application/json" in operation["requestBody"]["content"] and not has_own_limit:
            yield "json"


def _security(path: str, settings: Settings) -> Iterable[Tree]:
    """List the credentials for an operation, of which one is enough; an empty one means none."""
    if path == _OPEN:
        return
    yield {"key": []}
    if path in _WATCHED:
        yield {"password": []}
    if settings.api_key is None or (path in _WATCHED and settings.watch_from):
        yield {}


def _limits(settings: Settings) -> Tree:
    return {
        "max_file_bytes": settings.max_file_bytes,
        "max_upload_bytes": settings.max_upload_bytes,
        "max_lines": settings.max_lines,
        "max_line_bytes": settings.max_line_bytes,
    }


def _paths() -> Iterable[tuple[str, Tree]]:
    folder = files(__package__) / "paths"
    for name in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml")):
        yield from _read(f"paths/{name}").items()


def _read(name: str) -> Any:
    # Each call builds new objects, since the document is modified in place.
    return yaml.load(_text(name), Loader=_LOADER)  # noqa: S506 - a safe loader, see below


@cache
def _text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times faster where it exists


def _spell_out(operation: Tree, shared: Iterable[Tree], *, schema: str) -> None:
    problems = _joined(operation.pop("errors", {}), *shared)
    errors = {s: _error(s, cases, schema=schema) for s, cases in sorted(problems.items())}
    names = ["x-request-id", *([REQUEST_ID] if schema == "AnthropicError" else [])]
    every = _header_references(dict.fromkeys(names, "RequestId"))
    operation["responses"] = {
        status: response | {"headers": response.get("headers", {}) | every}
        for status, response in (operation["responses"] | errors).items()
    }
    operation["x-codeSamples"] = [
        {"lang": language, "label": _LANGUAGES[language], "source": source}
        for language, source in operation.pop("samples").items()
    ]


def _joined(*tables: Tree) -> dict[str, list[Tree]]:
    joined: defaultdict[str, list[Tree]] = defaultdict(list)
    for status, cases in chain.from_iterable(table.items() for table in tables):
        joined[str(status)] += cases
    return joined


def _error(status: str, cases: list[Tree], *, schema: str) -> Tree:
    return {
        "description": "; ".join(case["when"] for case in cases) + ".",
        "headers": _header_references(_ERROR_HEADERS.get(status, {})),
        "content": {
            "application/json": {
                "schema": reference(schema),
                "examples": {
                    f"case{number}": {
                        "summary": case["when"],
                        "x-shared": case.get("is_shared", False),
                        "value": _anthropic(status, case)
                        if schema == "AnthropicError"
                        else _openai(status, case),
                    }
                    for number, case in enumerate(cases, 1)
                },
            }
        },
    }


def _openai(status: str, case: Tree) -> Tree:
    kind = "server_error" if status.startswith("5") else "invalid_request_error"
    said = {"message": case["message"], "type": kind}
    return {"error": said | {"param": case.get("param"), "code": case.get("code")}}


def _anthropic(status: str, case: Tree) -> Tree:
    error = {"type": error_type(int(status.replace("XX", "00"))), "message": case["message"]}
    return {"type": "error", "error": error, "request_id": _EXAMPLE_ID}


def _header_references(names: Mapping[str, str]) -> Tree:
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}
