"""The endpoints that a batch may call, and other paths that several parts name."""

from __future__ import annotations

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/score",
    "/v1/rerank",
    "/v1/messages",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
AUDIO = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
"""Those of them that take a form with a file; a line names it by URL."""
COUNT_TOKENS = "/v1/messages/count_tokens"
INTERACTIVE = (*ENDPOINTS, COUNT_TOKENS)
"""What is passed on at once: nobody batches a count of tokens."""
DEFAULT_ENDPOINT = ENDPOINTS[0]
"""Of a batch that need not name one, and does not."""
MODELS = "/v1/models"
SYNCHRONOUS = "/batch"
"""Of the gateway alone: many interactive requests in one call."""
