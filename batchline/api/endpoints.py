"""The paths of model servers: the endpoints that a batch may call, and the list of models."""

from __future__ import annotations

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/score",
    "/v1/rerank",
)
DEFAULT_ENDPOINT = ENDPOINTS[0]
"""Of a batch that need not name one, and does not."""
MODELS = "/v1/models"
