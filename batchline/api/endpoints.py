"""The paths of model servers: the endpoints that a batch may call, and the list of models."""

from __future__ import annotations

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/score",
    "/v1/rerank",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
AUDIO = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
"""Those of them that take a form with a file; a line names it by URL."""
MODELS = "/v1/models"
