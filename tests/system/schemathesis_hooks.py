"""What schemathesis cannot know by itself: how to read raw bytes, and which valid requests may be refused."""

from __future__ import annotations

from pathlib import Path

import schemathesis

ENDED = set(Path("ended.txt").read_text().replace('"', "").split())
NOT_IN_A_SCHEMA = {
    # (operation, status): what the refusal must say, as part of its message
    ("createBatch", 400): (
        "Cannot find file",
        "Cannot use file",
        "Supported values are: '24h'",
        "Invalid 'callback_url': ",  # which addresses are public
        "Must be .jsonl",
        "Invalid 'metadata': ",  # of a form: a JSON object as a text
        "Invalid type for 'metadata",
    ),
    ("createMessageBatch", 400): (
        "is there twice",
        "expected a string of 1 to 64 letters",  # a pattern's end may stand before a last newline
    ),
    ("listMessageBatches", 400): ("not both",),
    ("createWebhookEndpoint", 400): ("Invalid 'url': ", "a type may be named only once", "no more"),
    ("updateWebhookEndpoint", 400): ("Invalid 'url': ", "a type may be named only once"),
    ("testWebhookEndpoint", 400): ("Nothing was answered by",),
    ("downloadFile", 400): ("Not allowed to download files of purpose",),
    ("downloadFile", 416): ("The file has only",),
    ("readBatchResults", 400): ("integer above maximum value",),
    ("readBatchErrors", 400): ("integer above maximum value", "Errors cannot be followed"),
    ("createFile", 400): ("Must be .jsonl",),
    ("createUpload", 400): ("Must be .jsonl",),
    ("createUpload", 507): ("There is too little disk space",),
    ("addUploadPart", 400): ("The part is empty", "takes nothing any more", "is full"),
    ("completeUpload", 400): (
        "a part may be named only once",  # what is drawn from a dictionary forgets uniqueItems
        "has no part",
        "The parts add up to",
        "The MD5 of the parts",
        "takes nothing any more",
        "Must be .jsonl",
    ),
    ("cancelUpload", 400): ("takes nothing any more",),
    ("createResponse", 400): ("A response in the background cannot be streamed",),
    ("retrieveResponse", 400): ("A response in the background cannot be streamed",),
    ("retryBatch", 400): ("Invalid 'metadata': too many properties", "Supported values are: '24h'"),
}
FINE = {401, 404, 409}


@schemathesis.hook
def filter_case(context, case):
    """Follow only batches that have ended: the others would hold the line for ever, as they should."""
    is_followed = str((case.query or {}).get("follow")).lower() == "true"
    return not is_followed or (case.path_parameters or {}).get("batch_id") in ENDED


@schemathesis.deserializer("application/octet-stream")
@schemathesis.deserializer("application/x-ndjson")
def read_bytes(context, response):
    return response.content.decode("latin-1")


@schemathesis.check
def valid_requests_are_refused_only_for_what_no_schema_can_say(context, response, case):
    """A stricter sibling of schemathesis' own check: the reason counts, not only the status."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_valid or response.status_code < 400 or response.status_code in FINE:
        return
    if case.operation.path == "/ready" and response.status_code == 503:
        return
    name = case.operation.definition.raw["operationId"]
    message = response.json()["error"]["message"]
    reasons = NOT_IN_A_SCHEMA.get((name, response.status_code), ())
    assert any(reason in message for reason in reasons), f"{response.status_code}: {message}"
