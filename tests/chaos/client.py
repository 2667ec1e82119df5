"""The clients of one history: each looks after a batch, one looks at everything; every answer is recorded.

They behave as good clients do: what was not answered is asked again, a create under its Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import json
import math
import time

import aiohttp
from waiting import pass_time, until

from .history import Call, Result
from .schedule import BatchPlan, Intake, Step, tag
from .witness import MODEL

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_ANSWER_S = 20.0
_AGAIN_S = 0.05
_LOOK_S = 0.06
_APPENDS = 8
_OTHER_PAGES = (
    "/ready",
    "/health",
    "/v1/batches",
    "/v1/files",
    "/",
    "/v1/models",
    "/metrics",
    "/v1/webhook_endpoints",
    "/v1/deliveries",
)


class Client:
    """One connection pool and the record of what came back."""

    def __init__(self, url, calls):
        self._url = url
        self._calls = calls
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S))

    async def close(self):
        """Close all connections."""
        await self._session.close()

    async def ask(self, method, path, *, route=None, batch="", **kwargs):
        """Ask once; return (status, text), or (None, why) where no whole answer came."""
        began_at = time.monotonic()
        status, text, kind = None, "", ""
        try:
            async with self._session.request(method, self._url + path, **kwargs) as answer:
                kind = answer.content_type
                text = await answer.text()
                status = answer.status
        except TimeoutError:
            text = f"no answer within {_ANSWER_S:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            text = f"{type(exc).__name__}: {exc}"
        body = _object(text) if kind == "application/json" else None
        trouble = text[:200] if status is None else _trouble(path, status, body, text)
        verb = f"{method} {route or path}"
        kept = body if batch and body is not None else None
        call = Call(verb, began_at, time.monotonic(), status, trouble, batch, kept)
        self._calls.append(call)
        return status, text

    async def insist(self, method, path, **kwargs):
        """Ask until there is an answer that is not 5xx; return (status, text)."""
        while True:
            data = kwargs.get("data")
            again = dict(kwargs, data=data()) if callable(data) else kwargs
            status, text = await self.ask(method, path, **again)
            if status is not None and status < 500:
                return status, text
            await pass_time(_AGAIN_S)


def _object(text):
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _trouble(path, status, body, text):
    """Say what is wrong with an error's form; nothing where nothing is."""
    if status < 400 or (path == "/ready" and status == 503 and body and body.get("reasons")):
        return ""
    if path == "/" and status == 503:
        return ""  # a page for people
    error = body.get("error") if body else None
    if isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}:
        return ""
    return f"not OpenAI's error object: {text[:200]!r}"


def input_lines(result):
    """Make the lines of a batch."""
    return [
        {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": [], "tag": line},
        }
        for custom_id, line in zip(result.custom_ids, result.tags, strict=True)
    ]


class Owner:
    """Looks after one batch from its upload to its results."""

    def __init__(
        self, client: Client, witness, plan: BatchPlan, result: Result, *, callback_url=None
    ) -> None:
        self.plan = plan
        self.result = result
        self.is_gone = False
        self.latest: dict | None = None
        self.changed = asyncio.Event()
        self._client = client
        self._witness = witness
        self._create = {}
        self._input_file_id = ""
        self.asked = 0
        self._callback_url = callback_url

    @classmethod
    def of(cls, client, witness, plan, callback_url=None):
        """Make the owner of a planned batch; the end of the batch is told to `callback_url`, too."""
        ids = [f"{plan.name}-line-{n}" for n in range(plan.lines)]
        result = Result(plan.name, "", ids, [tag(plan.name, n) for n in range(plan.lines)])
        return cls(client, witness, plan, result, callback_url=callback_url)

    async def submit(self):
        """Upload the input, unless it comes with the batch, and create that, each until it is answered."""
        fields = {
            "endpoint": "/v1/chat/completions",
            "completion_window": self.plan.window,
            "metadata": {"name": self.plan.name},
        }
        if self._callback_url is not None:
            fields["callback_url"] = self._callback_url
        match self.plan.intake:
            case Intake.FILE:
                form = self._form({"purpose": "batch"})
                _, text = await self._client.insist("POST", "/v1/files", data=form)
                self._create = {"json": {"input_file_id": json.loads(text)["id"]} | fields}
            case Intake.INLINE:
                bare = [
                    {k: line[k] for k in ("custom_id", "body")} for line in input_lines(self.result)
                ]
                self._create = {"json": fields | {"requests": bare}}
            case Intake.OPEN:
                self._create = {"json": fields | {"open": True}}
            case Intake.FORM:
                texts = fields | {"metadata": json.dumps(fields["metadata"])}
                self._create = {"data": self._form(texts)}
        await self.create()

    async def add(self):
        """Add the requests of an open batch, some of them twice, and close it, as far as it takes them.

        Whether the last ones were taken, where they were refused after a lost answer, its total tells.
        """
        if self.plan.intake is not Intake.OPEN:
            return
        lines = input_lines(self.result)
        path, route = f"/v1/batches/{self.result.batch_id}", "/v1/batches/{id}"
        size = -(-len(lines) // _APPENDS)
        for start in range(0, len(lines), size):
            some = lines[max(0, start - 1) : start + size]
            bare = [{k: line[k] for k in ("custom_id", "body")} for line in some]
            self.asked = start + len(lines[start : start + size])
            status, _ = await self._client.insist(
                "POST", f"{path}/requests", route=f"{route}/requests", json={"requests": bare}
            )
            if status != 200:
                return
            self.result.acknowledged = self.asked
            await pass_time(_AGAIN_S)
        await self._client.insist("POST", f"{path}/finalize", route=f"{route}/finalize")

    def _forget_what_was_not_taken(self):
        """Cut the lines of an open batch that ended early to those that it took."""
        if self.plan.intake is Intake.OPEN:
            total = self.latest["request_counts"]["total"]
            taken = self.asked if total == self.asked else self.result.acknowledged
            del self.result.custom_ids[taken:], self.result.tags[taken:]

    def _form(self, texts):
        """Return what makes the form of the input file, each time anew."""
        content = "".join(json.dumps(line) + "\n" for line in input_lines(self.result)).encode()

        def made():
            form = aiohttp.FormData(texts)
            form.add_field("file", content, filename=f"{self.plan.name}.jsonl")
            return form

        return made

    async def create(self):
        """Create the batch under its key (again: it is the same)."""
        status, text = await self._client.insist(
            "POST",
            "/v1/batches",
            headers={"Idempotency-Key": f"key-{self.plan.name}"},
            **self._create,
        )
        self._note_created(status, text)
        if status == 200:
            self._input_file_id = json.loads(text)["input_file_id"]

    async def retry(self, parent_id):
        """Create the batch that runs another's failed lines again."""
        status, text = await self._client.insist(
            "POST",
            f"/v1/batches/{parent_id}/retry",
            route="/v1/batches/{id}/retry",
            headers={"Idempotency-Key": f"key-{self.plan.name}"},
        )
        self._note_created(status, text)

    def _note_created(self, status, text):
        made = json.loads(text).get("id", text) if status == 200 else f"{status}: {text}"
        self.result.created.append(made)
        if status == 200:
            self.result.batch_id = made

    async def steer(self):
        """Take the planned steps, each when its share of the lines has been sent."""
        for share, step in self.plan.steps:
            await self._until_share(share)
            await self._take(step)

    async def _until_share(self, share):
        lines = max(1, round(share * self.plan.lines))
        arrived = self._witness.arrived
        await until(
            lambda: self.is_over or len(arrived.get(self.plan.name, ())) >= lines * (share > 0),
            within_s=math.inf,
        )

    async def _take(self, step):
        path, route = f"/v1/batches/{self.result.batch_id}", "/v1/batches/{id}"
        match step:
            case Step.CANCEL:
                status, _ = await self._client.insist(
                    "POST", f"{path}/cancel", route=f"{route}/cancel", batch=self.plan.name
                )
                if status == 200:
                    self.result.cancelled_at = time.monotonic()
            case Step.PAUSE | Step.RESUME:
                if step is Step.RESUME:
                    await pass_time(0.3)
                await self._client.insist("POST", f"{path}/{step}", route=f"{route}/{step}")
            case Step.DELETE:
                status, text = await self._client.insist(
                    "DELETE", path, route=route, batch=self.plan.name
                )
                if status == 200:
                    self._note_gone(json.loads(text))
            case Step.DELETE_INPUT:
                file = f"/v1/files/{self._input_file_id}"
                await self._client.insist("DELETE", file, route="/v1/files/{id}")
            case Step.CREATE_AGAIN:
                await self.create()
            case Step.PARTIAL:
                await self._client.ask("GET", f"{path}/results", route=f"{route}/results")

    @property
    def is_over(self):
        """True once its batch was seen in a terminal state, or is deleted."""
        return self.is_gone or (self.latest is not None and self.latest["status"] in TERMINAL)

    async def look(self):
        """Ask for the batch once."""
        path = f"/v1/batches/{self.result.batch_id}"
        status, text = await self._client.ask(
            "GET", path, route="/v1/batches/{id}", batch=self.plan.name
        )
        if status == 200:
            self.latest = json.loads(text)
            self.changed.set()

    async def until_over(self):
        """Wait for the end."""
        while not self.is_over:
            self.changed.clear()
            await self.changed.wait()

    async def fetch(self):
        """Read both result files."""
        if self.is_gone or self.latest is None:
            return
        self._forget_what_was_not_taken()
        self.result.final = self.latest
        self.result.output = await self._lines("output_file_id")
        self.result.error = await self._lines("error_file_id")

    async def _lines(self, field):
        file_id = self.latest.get(field)
        if file_id is None:
            return []
        status, text = await self._client.insist(
            "GET", f"/v1/files/{file_id}/content", route="/v1/files/{id}/content"
        )
        return [json.loads(line) for line in text.splitlines()] if status == 200 else None

    async def delete(self):
        """Delete the batch."""
        await self._take(Step.DELETE)

    def _note_gone(self, answer):
        """Note what became of it: deleted if it had ended, else cancelled."""
        if "deleted" not in answer:
            self.result.cancelled_at = self.result.cancelled_at or time.monotonic()
            return
        self.result.deleted_at = time.monotonic()
        self.is_gone = True
        self.changed.set()


async def look_at_everything(client, owners, over):
    """Look at every batch that exists, and at one other page each time, until told to stop."""
    turn = 0
    while not over.is_set():
        for owner in list(owners):
            if owner.result.batch_id and not owner.is_gone and owner.result.final is None:
                await owner.look()
        await client.ask("GET", _OTHER_PAGES[turn % len(_OTHER_PAGES)])
        turn += 1
        await pass_time(_LOOK_S)


async def list_all(client):
    """Walk over the list of batches; return their ids."""
    found, after = [], ""
    while True:
        _, text = await client.insist(
            "GET", "/v1/batches", params={"limit": "2"} | ({"after": after} if after else {})
        )
        page = json.loads(text)
        found += [batch["id"] for batch in page["data"]]
        if not page["has_more"]:
            return found
        after = page["last_id"]
