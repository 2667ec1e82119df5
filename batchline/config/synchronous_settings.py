"""The part of `Settings` for `POST /batch`, many requests in one call."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SynchronousSettings(BaseModel):
    """How such calls are gathered, sent and bounded."""

    sync_batch_size: int = Field(
        32,
        ge=1,
        description="`POST /batch`: requests of all calls that are gathered, to be sent together",
    )
    sync_batch_interval_s: float = Field(
        0.0,
        ge=0,
        description="How long the first of them waits for the others; 0: each is sent at once",
    )
    sync_max_concurrent_requests: int = Field(
        256,
        ge=1,
        description="Requests of `POST /batch` in flight at most, over all calls; calls take turns",
    )
    sync_timeout_s: float = Field(
        600.0,
        gt=0,
        description="Time of a call of `POST /batch`: what is not answered by then has the error `timeout`",
    )
    sync_max_requests: int = Field(
        1000, ge=1, description="Most requests in a call of `POST /batch`"
    )
    sync_max_held_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1,
        description="Memory for the requests and answers of all calls of `POST /batch`; one call takes at "
        "most a quarter",
    )
