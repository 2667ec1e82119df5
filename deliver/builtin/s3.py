"""The handler `s3`: the results of a batch become one object, which is complete or not there.

Lines are streamed in parts, which become an object when all are there; an attempt that fails aborts them.
What is tried again begins anew, and ends in the same bytes under the same key. Parts of a process that was
killed stay, unseen, until a rule of the bucket ends them: obstore cannot list them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from obstore import open_writer_async
from obstore.exceptions import BaseError
from obstore.store import S3Store

from batchline.handlers import Context, EndedBatch, Results

_CHUNK_LINES = 1000
_CHUNK_BYTES = 1 << 20
_PARTS_AT_ONCE = 2
_RETRIES = 3  # of one request
_RETRY_S = 60
_LONGEST_WHY = 300
_METADATA_SERVICE = "169.254.169.254"  # where machines of AWS find their credentials


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    format: Literal["jsonl"] = "jsonl"
    requests: bool = False

    def key(self, batch_id: str, name: str) -> str:
        """Return the key of an object of a batch."""
        prefix = urlsplit(self.url).path.strip("/")
        return "/".join(filter(None, (prefix, batch_id, name)))


class S3:
    """Writes results into an object."""

    name = "s3"
    part_bytes = 16 << 20
    """S3 takes 10,000 parts of 5 MiB and more: so an object may have 160 GB."""

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Say yes. Raises ValueError: the settings are wrong."""
        _read(settings)
        return True

    def wants_requests(self, settings: Mapping[str, Any]) -> bool:
        """Whether the requests become an object, too."""
        return _read(settings).requests

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Write all results; the requests are complete before them. Raises OSError."""
        settings = _read(context.settings)
        names = ["results.jsonl", *(["requests.jsonl"] if settings.requests else [])]
        try:
            store = _store(settings)
            async with AsyncExitStack() as stack:  # left in reverse order: the results last
                lines, *requests = [
                    await stack.enter_async_context(
                        self._writer(store, settings.key(batch.id, name))
                    )
                    for name in names
                ]
                async for chunk in results.chunks(_CHUNK_LINES, most_bytes=_CHUNK_BYTES):
                    await lines.write(b"".join(one.raw for one in chunk))
                    for writer in requests:
                        await writer.write(
                            b"".join((one.raw_request or b"") + b"\n" for one in chunk)
                        )
        except (BaseError, OSError) as exc:
            raise OSError(f"{settings.url}: {_told(str(exc))}") from exc

    def _writer(self, store: S3Store, key: str) -> Any:
        return open_writer_async(
            store,
            key,
            attributes={"Content-Type": "application/jsonl"},
            buffer_size=self.part_bytes,
            max_concurrency=_PARTS_AT_ONCE,
        )


def _store(settings: _Settings) -> S3Store:
    """Open the bucket. What is not set comes from the environment, as AWS's own programs read it."""
    given = {
        "endpoint": settings.endpoint,
        "region": settings.region,
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
    }
    return S3Store(
        urlsplit(settings.url).netloc,
        client_options={"allow_http": (settings.endpoint or "").startswith("http:")},
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)},
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )


def _read(given: Mapping[str, Any]) -> _Settings:
    """Check the settings. Raises ValueError."""
    settings = msgspec.convert(given, _Settings, strict=False)
    url = urlsplit(settings.url)
    if url.scheme != "s3" or not url.netloc or url.query or url.fragment:
        raise ValueError(f"'url' must be s3://bucket or s3://bucket/prefix, not {settings.url!r}")
    endpoint = urlsplit(settings.endpoint or "https://default")
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
        raise ValueError("'endpoint' must be a URL such as https://minio.example.com:9000")
    if (settings.access_key_id is None) != (settings.secret_access_key is None):
        raise ValueError("'access_key_id' and 'secret_access_key' go together: set both or none")
    return settings


def _told(text: str) -> str:
    """Say what went wrong: in S3's own words where it answered, else in those of obstore."""
    code = _between(text, "<Code>", "</Code>")
    if code:
        return f"{code}: {_between(text, '<Message>', '</Message>')}"
    if _METADATA_SERVICE in text:
        return "no credentials: set access_key_id and secret_access_key, or the environment's variables"
    return text.partition("\n\nDebug source:")[0][:_LONGEST_WHY]


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0][:_LONGEST_WHY]
