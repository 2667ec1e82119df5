"""A scripted server of the Files and Batches API: what it knows, says and breaks is up to the test."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from aiohttp import web

SCRIPT = web.AppKey("script", object)
ROOT = Path(__file__).parents[2]
REQUEST = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "m"},
}


def batch_object(number=1, **fields):
    """Return a batch as the API shows it; its id ends in the number."""
    return {
        "id": f"batch_{number:032x}",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": "file-in",
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1_800_000_000 + number,
        "in_progress_at": None,
        "expires_at": 1_800_086_400,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "paused_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": None,
    } | fields


def running(done=1, total=4, failed=0, **fields):
    """Return the fields of a batch that runs."""
    counts = {"total": total, "completed": done - failed, "failed": failed}
    usage = {"output_tokens": 10 * done, "total_tokens": 30 * done}
    return {"status": "in_progress", "request_counts": counts, "usage": usage} | fields


def completed(total=4, failed=0, **fields):
    """Return the fields of a batch that completed."""
    ended = {"status": "completed", "completed_at": 1_800_000_100, "output_file_id": "file-out"}
    errors = {"error_file_id": "file-err"} if failed else {}
    return running(total, total, failed) | ended | errors | fields


class Script:
    """What the server knows and how it behaves; tests change it as they go."""

    def __init__(self):
        self.url = ""
        self.batches = {}
        self.next_states = {}
        """Batch id -> fields that each further look adds."""
        self.on_create = []
        """What further looks at the next created batch add."""
        self.files = {}
        self.uploads = []
        self.requests = []
        self.key = None
        self.outages = 0
        self.cut_after = []
        """Bytes after which each next download is cut off."""
        self.ranges = True
        self.knows_status = True

    def add(self, number=1, *, then=(), **fields):
        batch = batch_object(number, **fields)
        self.batches[batch["id"]] = batch
        self.next_states[batch["id"]] = list(then)
        return batch["id"]

    def paths(self, method):
        return [path for m, path in self.requests if m == method]


def fault(status, message, **fields):
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error | fields}, status=status)


@web.middleware
async def gatekeeper(request, handler):
    script = request.app[SCRIPT]
    script.requests.append((request.method, request.path))
    if script.outages > 0:
        script.outages -= 1
        request.transport.close()
        raise web.HTTPServiceUnavailable
    if script.key and request.headers.get("authorization") != f"Bearer {script.key}":
        return fault(401, "Incorrect API key provided.", code="invalid_api_key")
    return await handler(request)


async def create_file(request):
    script, content, fields = request.app[SCRIPT], b"", {}
    async for part in await request.multipart():
        if part.name == "file":
            fields["filename"] = part.filename
            content = bytes(await part.read())
        else:
            fields[part.name] = await part.text()
    file_id = f"file-{len(script.files)}"
    script.files[file_id] = content
    fields |= {"length": request.headers.get("content-length"), "content": content}
    script.uploads.append(fields)
    return web.json_response({"id": file_id, "object": "file", "bytes": len(content)})


async def show_file(request):
    content = request.app[SCRIPT].files.get(request.match_info["id"])
    if content is None:
        return fault(404, "No such File object")
    return web.json_response({"id": request.match_info["id"], "bytes": len(content)})


async def file_content(request):
    script = request.app[SCRIPT]
    content = script.files[request.match_info["id"]]
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    start = int(asked[1]) if asked and script.ranges else 0
    answer = web.StreamResponse(status=206 if start else 200)
    if start:
        answer.headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    answer.content_length = len(content) - start
    await answer.prepare(request)
    cut = script.cut_after.pop(0) if script.cut_after else None
    await answer.write(content[start:][:cut])
    if cut is not None:
        request.transport.close()
    return answer


async def create_batch(request):
    script, body = request.app[SCRIPT], await request.json()
    number = len(script.batches) + 1
    batch_id = script.add(
        number,
        then=script.on_create,
        endpoint=body["endpoint"],
        input_file_id=body["input_file_id"],
        completion_window=body["completion_window"],
        metadata=body.get("metadata"),
        **{key: body[key] for key in ("on_failures", "callback_url") if key in body},
    )
    return web.json_response(script.batches[batch_id])


async def show_batch(request):
    script, batch_id = request.app[SCRIPT], request.match_info["id"]
    if batch_id not in script.batches:
        return fault(404, f"No batch found with id '{batch_id}'.")
    if script.next_states[batch_id]:
        script.batches[batch_id] |= script.next_states[batch_id].pop(0)
    return web.json_response(script.batches[batch_id])


async def list_batches(request):
    script, wanted = request.app[SCRIPT], request.query.getall("status", [])
    newest_first = list(script.batches.values())[::-1]
    if script.knows_status and wanted:
        newest_first = [b for b in newest_first if b["status"] in wanted]
    after, limit = request.query.get("after"), int(request.query.get("limit", 20))
    if after:
        newest_first = list(itertools.dropwhile(lambda b: b["id"] != after, newest_first))[1:]
    page = newest_first[:limit]
    return web.json_response({"data": page, "has_more": len(newest_first) > len(page)})


async def cancel_batch(request):
    batch = request.app[SCRIPT].batches[request.match_info["id"]]
    if batch["status"] == "completed":
        return fault(409, "Cannot cancel a batch with status 'completed'.")
    batch |= {"status": "cancelling", "cancelling_at": 1_800_000_050}
    return web.json_response(batch)


def application(script):
    made = web.Application(middlewares=[gatekeeper], client_max_size=1 << 30)
    made[SCRIPT] = script
    made.add_routes(
        [
            web.post("/v1/files", create_file),
            web.get("/v1/files/{id}", show_file),
            web.get("/v1/files/{id}/content", file_content),
            web.post("/v1/batches", create_batch),
            web.get("/v1/batches", list_batches),
            web.get("/v1/batches/{id}", show_batch),
            web.post("/v1/batches/{id}/cancel", cancel_batch),
        ]
    )
    return made
