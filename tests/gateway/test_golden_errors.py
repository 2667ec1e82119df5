"""Golden errors: what each fault of SPEC's conventions, files and batches is answered with."""

from __future__ import annotations

import aiohttp
import pytest
from goldens import Shapes, names

from batchline.model import Fault
from batchline.states import BatchStatus, OutcomeKind

CHAT = "/v1/chat/completions"
HEADERS = (
    *("content-type", "x-request-id", "x-should-retry", "retry-after", "www-authenticate"),
    *("allow", "content-range", "accept-encoding"),
)
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


def form(*parts, purpose="batch", end="--b--\r\n"):
    """Write a multipart body by hand, so that it can be wrong."""
    pieces = [] if purpose is None else [("purpose", "", purpose)]
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{text}\r\n'
        for name, more, text in [*pieces, *parts]
    )
    return {"data": (body + end).encode(), "headers": MULTIPART}


CONTENT = ("file", '; filename="x.jsonl"', "{}")


def expiring(anchor, seconds):
    return form(
        CONTENT, ("expires_after[anchor]", "", anchor), ("expires_after[seconds]", "", seconds)
    )


def body(**changes):
    """A good body of POST /v1/batches, changed; `...` leaves a field out."""
    whole = {
        "input_file_id": "{file}",
        "endpoint": CHAT,
        "completion_window": "24h",
    } | changes
    return {"json": {name: value for name, value in whole.items() if value is not ...}}


LATER = {"anchor": "created_at", "seconds": 3600}

CASES = {
    # conventions
    "conventions/unknown_route": ("GET", "/v1/nope", {}),
    "conventions/wrong_method": ("PUT", "/v1/files", {}),
    "conventions/not_json": ("POST", "/v1/batches", {"data": b"{nope"}),
    "conventions/not_an_object": ("POST", "/v1/batches", {"data": b"[1]"}),
    "conventions/empty_body": ("POST", "/v1/batches", {"data": b""}),
    "conventions/broken_compression": (
        "POST",
        "/v1/batches",
        {"data": b"x", "headers": {"Content-Encoding": "gzip"}},
    ),
    "conventions/unknown_compression": (
        "POST",
        "/v1/files",
        form(CONTENT) | {"headers": MULTIPART | {"Content-Encoding": "lzma"}},
    ),
    # files
    "file_errors/purpose_unknown": ("POST", "/v1/files", form(CONTENT, purpose="mischief")),
    "file_errors/purpose_of_results": ("POST", "/v1/files", form(CONTENT, purpose="batch_output")),
    "file_errors/purpose_missing": ("POST", "/v1/files", form(CONTENT, purpose=None)),
    "file_errors/file_missing": ("POST", "/v1/files", form()),
    "file_errors/file_without_name": ("POST", "/v1/files", form(("file", "", "{}"))),
    "file_errors/blank": ("POST", "/v1/files", form(("file", '; filename="x"', " \n"))),
    "file_errors/not_multipart": ("POST", "/v1/files", {"json": {"purpose": "batch"}}),
    "file_errors/no_boundary": (
        "POST",
        "/v1/files",
        {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ),
    "file_errors/truncated": ("POST", "/v1/files", form(CONTENT, end="")),
    "file_errors/expires_too_soon": ("POST", "/v1/files", expiring("created_at", "3599")),
    "file_errors/expires_too_late": ("POST", "/v1/files", expiring("created_at", "2592001")),
    "file_errors/expires_not_a_number": ("POST", "/v1/files", expiring("created_at", "soon")),
    "file_errors/expires_anchor": ("POST", "/v1/files", expiring("now", "3600")),
    "file_errors/expires_half": (
        "POST",
        "/v1/files",
        form(CONTENT, ("expires_after[seconds]", "", "3600")),
    ),
    "file_errors/limit_zero": ("GET", "/v1/files?limit=0", {}),
    "file_errors/limit_too_large": ("GET", "/v1/files?limit=10001", {}),
    "file_errors/limit_not_a_number": ("GET", "/v1/files?limit=abc", {}),
    "file_errors/order": ("GET", "/v1/files?order=up", {}),
    "file_errors/after_unknown": ("GET", "/v1/files?after=file-none", {}),
    "file_errors/unknown": ("GET", "/v1/files/file-none", {}),
    "file_errors/unknown_to_delete": ("DELETE", "/v1/files/file-none", {}),
    "file_errors/unknown_content": ("GET", "/v1/files/file-none/content", {}),
    "file_errors/content_not_allowed": ("GET", "/v1/files/{notes}/content", {}),
    "file_errors/range_beyond_the_end": (
        "GET",
        "/v1/files/{file}/content",
        {"headers": {"Range": "bytes=9999-"}},
    ),
    # batches
    "batch_errors/endpoint_unknown": ("POST", "/v1/batches", body(endpoint="/v1/x")),
    "batch_errors/endpoint_missing": ("POST", "/v1/batches", body(endpoint=...)),
    "batch_errors/endpoint_not_a_string": ("POST", "/v1/batches", body(endpoint=["x"])),
    "batch_errors/window_unknown": ("POST", "/v1/batches", body(completion_window="soon")),
    "batch_errors/window_missing": ("POST", "/v1/batches", body(completion_window=...)),
    "batch_errors/input_missing": ("POST", "/v1/batches", body(input_file_id=...)),
    "batch_errors/input_null": ("POST", "/v1/batches", body(input_file_id=None)),
    "batch_errors/input_a_number": ("POST", "/v1/batches", body(input_file_id=7)),
    "batch_errors/input_unknown": ("POST", "/v1/batches", body(input_file_id="file-none")),
    "batch_errors/input_of_other_purpose": ("POST", "/v1/batches", body(input_file_id="{notes}")),
    "batch_errors/metadata_not_an_object": ("POST", "/v1/batches", body(metadata=[])),
    "batch_errors/metadata_too_many": (
        "POST",
        "/v1/batches",
        body(metadata={f"k{n}": "" for n in range(17)}),
    ),
    "batch_errors/metadata_key_too_long": ("POST", "/v1/batches", body(metadata={"k" * 65: ""})),
    "batch_errors/metadata_value_too_long": (
        "POST",
        "/v1/batches",
        body(metadata={"k": "v" * 513}),
    ),
    "batch_errors/metadata_value_a_list": ("POST", "/v1/batches", body(metadata={"tags": ["a"]})),
    "batch_errors/output_expires_not_an_object": (
        "POST",
        "/v1/batches",
        body(output_expires_after=3600),
    ),
    "batch_errors/output_expires_anchor": (
        "POST",
        "/v1/batches",
        body(output_expires_after=LATER | {"anchor": "now"}),
    ),
    "batch_errors/output_expires_too_soon": (
        "POST",
        "/v1/batches",
        body(output_expires_after=LATER | {"seconds": 1}),
    ),
    "batch_errors/output_expires_a_boolean": (
        "POST",
        "/v1/batches",
        body(output_expires_after=LATER | {"seconds": True}),
    ),
    "batch_errors/limit_too_large": ("GET", "/v1/batches?limit=101", {}),
    "batch_errors/limit_negative": ("GET", "/v1/batches?limit=-1", {}),
    "batch_errors/limit_not_a_number": ("GET", "/v1/batches?limit=abc", {}),
    "batch_errors/after_unknown": ("GET", "/v1/batches?after=batch_none", {}),
    "batch_errors/unknown": ("GET", "/v1/batches/batch_none", {}),
    "batch_errors/unknown_to_cancel": ("POST", "/v1/batches/batch_none/cancel", {}),
    "batch_errors/cancel_completed": ("POST", "/v1/batches/{completed}/cancel", {}),
    "batch_errors/cancel_failed": ("POST", "/v1/batches/{failed}/cancel", {}),
    "batch_errors/cancel_expired": ("POST", "/v1/batches/{expired}/cancel", {}),
    "batch_errors/pause_completed": ("POST", "/v1/batches/{completed}/pause", {}),
    "batch_errors/resume_completed": ("POST", "/v1/batches/{completed}/resume", {}),
    "batch_errors/retry_unknown": ("POST", "/v1/batches/batch_none/retry", {}),
    "batch_errors/retry_open": ("POST", "/v1/batches/{open}/retry", {}),
    "batch_errors/retry_failed": ("POST", "/v1/batches/{failed}/retry", {}),
    "batch_errors/retry_of_nothing": ("POST", "/v1/batches/{completed}/retry", {}),
    "batch_errors/delete_unknown": ("DELETE", "/v1/batches/batch_none", {}),
    "batch_errors/results_unknown": ("GET", "/v1/batches/batch_none/results", {}),
    "batch_errors/results_after_line": ("GET", "/v1/batches/{open}/results?after_line=x", {}),
    "batch_errors/results_follow": ("GET", "/v1/batches/{open}/results?follow=maybe", {}),
    "batch_errors/errors_unknown": ("GET", "/v1/batches/batch_none/errors", {}),
    # models and model servers
    "model_errors/unknown": ("GET", "/v1/models/gpt-none", {}),
}


async def failed(gateway):
    batch = await gateway.create_batch()
    stored = await gateway.store.get_batch(batch.id)
    assert await gateway.store.reject(stored, [Fault("c", "m")], now=int(gateway.clock()))
    return batch.id


async def completed(gateway):
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OutcomeKind.SUCCEEDED)
    return batch.id


async def expired(gateway):
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OutcomeKind.SUCCEEDED, until=BatchStatus.IN_PROGRESS)
    gateway.clock.advance(86401)
    await gateway.store.lapse(now=int(gateway.clock()))
    await gateway.close(batch.id, BatchStatus.EXPIRED)
    return batch.id


async def open_(gateway):
    return (await gateway.create_batch()).id


async def file(gateway):
    return (await gateway.upload()).id


async def notes(gateway):
    return (await gateway.upload(purpose="user_data")).id


THINGS = {
    made.__name__.rstrip("_"): made for made in (file, notes, open_, completed, failed, expired)
}


async def filled(value, gateway):
    """Replace {file}, {completed} … by the id of such a thing, made now."""
    if isinstance(value, dict):
        return {name: await filled(inner, gateway) for name, inner in value.items()}
    for name, make in THINGS.items():
        if isinstance(value, str) and f"{{{name}}}" in value:
            value = value.replace(f"{{{name}}}", await make(gateway))
    return value


def told(answer, request, gateway):
    """What a golden holds of an answer."""
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    shapes = Shapes(now=int(gateway.clock()))
    headers = {n: shapes.text(answer.headers[n]) for n in HEADERS if n in answer.headers}
    return {
        "request": shapes.text(request),
        "status": answer.status,
        "headers": headers,
        "body": shapes.of(answer.json),
    }


@pytest.mark.spec("1-error-object", "1-error-400-not-422", "1-json-content-type")
@pytest.mark.parametrize("name", CASES)
async def test_errors_are_as_last_reviewed(gateway, golden, name):
    """Status, the headers that matter and each field of the error object equal the golden."""
    method, path, more = CASES[name]
    path, more = await filled(path, gateway), await filled(more, gateway)

    answer = await gateway.call(method, path, **more)

    golden.check(name, told(answer, f"{method} {path}", gateway))


SETTINGS = {
    "conventions/wrong_key": ({"api_key": "sk-right"}, "GET", "/v1/files", {}),
    "file_errors/too_large": ({"max_file_bytes": 1}, "POST", "/v1/files", form(CONTENT)),
    "file_errors/disk_full": ({"min_free_bytes": 1 << 60}, "POST", "/v1/files", form(CONTENT)),
    "model_errors/no_server": (
        {"upstream_url": "http://127.0.0.1:1"},
        "POST",
        CHAT,
        {"json": {"model": "m", "messages": []}},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_errors_of_settings_are_as_last_reviewed(starts, golden, name):
    """The same for errors that need a gateway of their own."""
    settings, method, path, more = SETTINGS[name]
    gateway = await starts(**settings)

    answer = await gateway.call(method, path, **more)

    golden.check(name, told(answer, f"{method} {path}", gateway))


async def refusing_store(gateway):
    """A database that takes no more writes."""
    await gateway.store._database._writer.execute("PRAGMA query_only = 1")
    return await gateway.call("POST", "/v1/files", **form(CONTENT))


async def same_key_other_body(gateway):
    headers = {"Idempotency-Key": "k"}
    first = body(input_file_id=await file(gateway))
    await gateway.call("POST", "/v1/batches", headers=headers, **first)
    other = body(**(first["json"] | {"metadata": {"n": "2"}}))
    return await gateway.call("POST", "/v1/batches", headers=headers, **other)


async def lost_bytes(gateway):
    """A file whose bytes somebody removed from the disk."""
    file_id = await file(gateway)
    for path in gateway.stored():
        path.unlink()
    return await gateway.call("GET", f"/v1/files/{file_id}/content")


async def overlong_header(gateway):
    """What is no proper request is refused before any route is looked for."""
    try:
        return await gateway.call("GET", "/v1/files", headers={"X": "x" * 20_000})
    except aiohttp.ClientError as exc:
        raise AssertionError("the connection was cut instead of answered") from exc


STORIES = {
    "conventions/store_refuses": refusing_store,
    "conventions/overlong_header": overlong_header,
    "batch_errors/idempotency_key_reused": same_key_other_body,
    "file_errors/lost_bytes": lost_bytes,
}


@pytest.mark.parametrize("name", STORIES)
async def test_errors_of_stories_are_as_last_reviewed(gateway, golden, name):
    """The same for errors that take more than one request to bring about."""
    answer = await STORIES[name](gateway)

    golden.check(name, told(answer, STORIES[name].__name__.replace("_", " "), gateway))


def test_no_golden_error_is_left_over():
    """A golden that nothing compares would be a false promise."""
    all_of_them = {*CASES, *SETTINGS, *STORIES}
    folders = {name.partition("/")[0] for name in all_of_them}
    assert set().union(*map(names, folders)) == all_of_them
