"""Every answer that any test of the gateway sees is held against the document."""

from __future__ import annotations

import json
from functools import cache

import jsonschema
from aiohttp import web

from batchline.settings import Settings
from gateway.openapi import Document


@cache
def _document():
    return Document(Settings()).tree


@cache
def _validator(path, method, status, media):
    """Return the validator of one answer, or a sentence about what the document lacks."""
    operation = _document()["paths"][path][method]
    where = f"gateway/openapi/paths: {method.upper()} {path}"
    answer = operation["responses"].get(status) or operation["responses"].get(f"{status[0]}XX")
    if answer is None:
        return f"{where} does not document {status}"
    content = answer.get("content", {})
    if media not in content:
        return f"{where}, {status}: documented are {sorted(content)}, not {media}"
    if media != "application/json":
        return None
    schema = content[media]["schema"] | {"components": _document()["components"]}
    return jsonschema.Draft202012Validator(schema)


class Witness:
    """Sees the answers of one application; `faults` says what the document does not say."""

    def __init__(self, app):
        self.faults = []
        app.on_response_prepare.append(self._see)

    async def _see(self, request, response):
        resource = request.match_info.route.resource
        method = "get" if request.method == "HEAD" else request.method.lower()
        path = resource.canonical if resource else ""
        if method not in _document()["paths"].get(path, {}) or response.status in (303, 304):
            return  # a wrong path or method, or an answer without a body
        found = _validator(path, method, str(response.status), response.content_type)
        if isinstance(found, str):
            self.faults.append(found)
        elif found and request.method != "HEAD" and isinstance(response, web.Response):
            errors = found.iter_errors(json.loads(response.body))
            self.faults += [f"{method} {path}: {e.json_path}: {e.message}" for e in errors]
