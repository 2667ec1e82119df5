"""Canaries: small requests of our own that show whether a backend works. No line is spent on finding out.

Sent to a backend whose circuit needs proof, and only then: it answered errors only, refused our key, or
refused what others answer. If a canary is answered there, what looked like the backend's fault is the lines'.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from batchline.api.endpoints import AUDIO
from batchline.metrics import Metrics
from dispatcher.backends.backend import Backend
from dispatcher.backends.circuit import Signal, only_errors
from dispatcher.backends.lacks import Need
from dispatcher.media.audio import form_of_data_url
from dispatcher.media.silence import silence
from dispatcher.replies.policy import POLICIES
from dispatcher.replies.upstream import JSON, Break, Broken, Upstream
from dispatcher.replies.verdict import Failed, Retry, Setting, Succeeded, Verdict, judge
from dispatcher.replies.wording import why_of

log = logging.getLogger(__name__)

NAME = "canary-"
"""How the ids of such requests begin, in the model server's log."""
_WITHIN_S = 60.0
_TEXT = "Hi"
_TEXTS = [_TEXT, "Hello"]
"""Two: a server that gives one number whatever it is asked for shall be found out."""
_IMAGE = (
    "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # one pixel
)
_QUESTIONS: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": _TEXT}],
        "max_tokens": 1,
    },
    "/v1/completions": {"prompt": _TEXT, "max_tokens": 1},
    "/v1/responses": {"input": _TEXT, "max_output_tokens": 16},
    "/v1/embeddings": {"input": _TEXTS},
    "/v1/score": {"text_1": _TEXT, "text_2": _TEXTS},
    "/v1/rerank": {"query": _TEXT, "documents": _TEXTS},
    "/v1/messages": {"messages": [{"role": "user", "content": _TEXT}], "max_tokens": 1},
    "/v1/moderations": {"input": _TEXTS},
    "/v1/images/generations": {"prompt": _TEXT},
    "/v1/images/edits": {"prompt": _TEXT, "images": [{"image_url": _IMAGE}]},
}


def question(need: Need) -> bytes:
    """Return the body of a request that any working server answers which serves this."""
    model = {} if need.model is None else {"model": need.model}
    asked = {"file_url": silence()} if need.endpoint in AUDIO else {}
    return msgspec.json.encode(model | _QUESTIONS.get(need.endpoint, asked))


class Canaries:
    """The canaries under way, one a backend at most."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        on_proven: Callable[[Backend, str | None], None],
        metrics: Metrics,
    ) -> None:
        """Begin with none. `on_proven` is told why a canary was not answered, or None."""
        self._upstream = upstream
        self._on_proven = on_proven
        self._metrics = metrics
        self._tasks: dict[Backend, asyncio.Task[None]] = {}

    def send(self, backends: Iterable[Backend]) -> None:
        """Ask these backends, those under way excepted."""
        for backend in backends:
            if backend not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._ask(backend))
                self._tasks[backend] = task
                task.add_done_callback(partial(self._ended, backend))

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, backend: Backend, task: asyncio.Task[None]) -> None:
        del self._tasks[backend]
        if not task.cancelled() and (exc := task.exception()):
            log.error("a canary for %s broke", backend.name, exc_info=exc)

    async def _ask(self, backend: Backend) -> None:
        need = backend.proof_need
        body = sent = question(need)
        kind = JSON
        if need.endpoint in AUDIO:
            sent, kind = form_of_data_url(body)
        reply = await self._upstream.send(
            need.endpoint,
            sent,
            request_id=NAME + secrets.token_hex(8),
            backend=backend.pin,
            within_s=_WITHIN_S,
            content_type=kind,
        )
        if isinstance(reply, Broken) and reply.how is Break.NO_DESCRIPTORS:
            return  # it was not asked; it is with the next look
        # Whatever time it asks for: `Circuit` says when the next one is due.
        verdict = judge(reply, Setting(now=0.0, endpoint=need.endpoint, request=body))
        if isinstance(verdict, Succeeded) or is_harmless(verdict, is_refusing=backend.is_refusing):
            self._metrics.canaries.labels("answered").inc()
            self._on_proven(backend, None)
        else:
            self._metrics.canaries.labels("failed").inc()
            why = why_of(reply, verdict.reason, endpoint=need.endpoint, request=body)
            is_error = POLICIES[verdict.reason].signal is Signal.ERROR
            self._on_proven(backend, only_errors(why) if is_error else why)


def is_harmless(verdict: Verdict, *, is_refusing: bool) -> bool:
    """Whether a canary that failed proves nothing against the backend.

    One that is full lets us in; one that lacks something takes other lines; one that refuses a canary as
    bad may know its reason, unless it `is_refusing` what others answer.
    """
    match verdict:
        case Failed():
            return not is_refusing
        case Retry(_, reason):
            row = POLICIES[reason]
            return row.signal is Signal.FULL or row.lacking is not None
        case _:
            return isinstance(verdict, Succeeded)
