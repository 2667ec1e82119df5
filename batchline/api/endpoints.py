"""The endpoints that a batch may call, and other paths that several parts name."""

from __future__ import annotations

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/score",
    "/v1/rerank",
)
MODELS = "/v1/models"
SYNCHRONOUS = "/batch"
"""Of the gateway alone: many interactive requests in one call."""
