"""The requests of one call: sent together, each answered in its place, all within the call's time.

A request waits for its group (`window`), then for a place in flight (`slots`). What a busy server asks for in
Retry-After is waited for, if there is time; nothing else is tried again, as for any interactive request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from batchline.clock import Clock
from batchline.errors import BatchlineError
from batchline.metrics import Metrics
from batchline.model import request_id as response_id
from batchline.settings import Settings
from gateway.errors import answer_for

from .exchange import Reply, exchange, wait_s
from .memory import Memory, Share
from .reading import Asked, Refused
from .responses import Outcome, Response, answered, unanswered
from .slots import Slots
from .window import Gathering, Window

TIMEOUT_CODE = "timeout"
_LACKING = "unavailable"  # the code of errors that have none: something is lacking at present
_MOST_TRIES = 5


class Shared:
    """What all calls of a gateway share."""

    def __init__(self, settings: Settings, *, metrics: Metrics, clock: Clock) -> None:
        self.clock = clock
        self.open_requests = 0
        """Requests that wait to be sent, or are in flight."""
        metrics.sync_requests_open.set_function(lambda: self.open_requests)
        self.timeout_s = settings.sync_timeout_s
        self.memory = Memory(settings.sync_max_held_bytes)
        metrics.sync_held_bytes.set_function(lambda: self.memory.held_bytes)
        self.slots = Slots(settings.sync_max_concurrent_requests)
        self.gathering = Gathering(
            Window(size=settings.sync_batch_size, interval_s=settings.sync_batch_interval_s), clock
        )


SHARED = web.AppKey("synchronous", Shared)


@dataclass(frozen=True, slots=True)
class Context:
    """What the requests of one call have in common."""

    app: web.Application
    share: Share
    request_id: str
    """Of the call: each of its requests has it with a number."""
    headers: Mapping[str, str]
    """That go to the model servers."""


class Call:
    """One call. Its time begins when it is made."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._shared = context.app[SHARED]
        self._ends_at = self._shared.clock.monotonic() + self._shared.timeout_s

    async def responses(self, requests: Sequence[Asked | Refused]) -> list[Response]:
        """Answer every request, in their order. Cancelling it ends those that are under way."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                number: group.create_task(self._respond(number, one))
                for number, one in enumerate(requests)
                if isinstance(one, Asked)
            }
            if tasks:
                timer = group.create_task(self._end_in_time(tasks.values()))
                await asyncio.wait(tasks.values())
                timer.cancel()
        found = []
        for number, one in enumerate(requests):
            if isinstance(one, Refused):
                found.append(self._refusal(number, one))
            elif tasks[number].cancelled():
                found.append(self._late(number, one))
            else:
                found.append(tasks[number].result())
        return found

    async def _end_in_time(self, tasks: Iterable[asyncio.Task[Response]]) -> None:
        await self._shared.clock.sleep(self._left_s())
        for task in tasks:
            task.cancel()

    def _left_s(self) -> float:
        return self._ends_at - self._shared.clock.monotonic()

    async def _respond(self, number: int, asked: Asked) -> Response:
        upstream_id = f"{self._context.request_id}-{number}"
        self._shared.open_requests += 1
        try:
            reply = await self._reply(asked, upstream_id)
            response = answered(
                asked,
                self._id_of(number),
                status=reply.status,
                upstream_id=upstream_id,
                body=reply.body,
            )
            self._context.share.take(len(response.text))
        except BatchlineError as exc:
            code = getattr(exc, "code", None) or answer_for(exc).code or _LACKING
            return unanswered(
                asked, self._id_of(number), Outcome.FAILED, code=code, message=str(exc)
            )
        finally:
            self._shared.open_requests -= 1
        return response

    async def _reply(self, asked: Asked, upstream_id: str) -> Reply:
        await self._shared.gathering.wait()
        tries = 0
        while True:
            async with self._shared.slots.one(self):
                reply = await exchange(
                    self._context.app,
                    asked,
                    request_id=upstream_id,
                    headers=self._context.headers,
                    share=self._context.share,
                )
            tries += 1
            pause_s = wait_s(reply, now=self._shared.clock.now(), left_s=self._left_s())
            if pause_s is None or tries == _MOST_TRIES:
                return reply
            await self._shared.clock.sleep(pause_s)

    def _refusal(self, number: int, refused: Refused) -> Response:
        fault = refused.fault
        return unanswered(
            refused,
            self._id_of(number),
            Outcome.REFUSED,
            code=fault.code,
            message=fault.message,
        )

    def _late(self, number: int, asked: Asked) -> Response:
        message = (
            f"This request was not answered within {self._shared.timeout_s:g} s "
            "(BATCHLINE_SYNC_TIMEOUT_S). Send fewer requests in a call, or a batch."
        )
        return unanswered(
            asked, self._id_of(number), Outcome.TIMEOUT, code=TIMEOUT_CODE, message=message
        )

    def _id_of(self, number: int) -> str:
        return response_id(self._context.request_id.removeprefix("req_"), number)
