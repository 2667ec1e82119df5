"""A dispatcher in this process over a real store, real blobs and a scripted upstream, for tests."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial

from claims import claim_one
from databases import new_database
from waiting import until

from batchline.api.appends import (
    Append,
    AppendedLine,
    AppendLimits,
    Appends,
    digest_of,
    new_append,
)
from batchline.blobs import open_blobs
from batchline.blobs.keys import append_key, file_key, segments_prefix
from batchline.clock import Clock
from batchline.jsonl.body_rules import NO_RULES
from batchline.jsonl.input_file import Limits
from batchline.jsonl.result_lines import answer_record
from batchline.metrics import Metrics
from batchline.model import (
    File,
    NewBatch,
    Outcome,
    Settlement,
    new_batch_id,
    new_file_id,
    request_id,
)
from batchline.settings import Settings
from batchline.states import TERMINAL, BatchStatus, OutcomeKind
from batchline.store import open_store
from dispatcher.app import Dispatcher
from dispatcher.batches.admit import Admission
from dispatcher.batches.conduct import LOOK_S
from dispatcher.media.fetch import Fetcher
from dispatcher.probing.asker import TIMEOUT_S
from dispatcher.probing.probe import Probe
from dispatcher.replies.upstream import Upstream
from dispatcher.upkeep.housekeeping import RESTS

FAST = {
    "max_in_flight": 16,
    "retry_base_s": 0.005,
    "retry_max_s": 0.02,
    "flush_s": 0.005,
    "probe_interval_s": 0.05,
    "grace_s": 0.2,
    "lease_s": 5,
}


def request_line(index, **body):
    """One line of an input file; its body's `tag` names it to the upstream."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": f"q{index}"}],
        "tag": f"t{index}",
    } | body
    line = {
        "custom_id": f"id-{index}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(line)


class Instead:
    """A real part, but for some of its methods."""

    def __init__(self, real, methods):
        self._real = real
        vars(self).update({name: partial(method, real) for name, method in methods.items()})

    def __getattr__(self, name):
        return getattr(self._real, name)


class Bench:
    """What a test drives: submit a file, run a dispatcher, read results."""

    def __init__(self, store, blobs, tmp_path, upstream):
        self.store, self.blobs, self.tmp_path, self.upstream = store, blobs, tmp_path, upstream
        self.metrics = Metrics()
        self.clock = Clock()
        """What the dispatcher takes for the time; leases count in real time all the same."""
        self.rests, self.look_s, self.probe_timeout_s = RESTS, LOOK_S, TIMEOUT_S
        self.fetching = {}
        """Options of what fetches media."""
        self._instead = defaultdict(dict)
        self.opened = opened
        self.stopping = asyncio.Event()
        """Set while the dispatcher that ran last is being stopped, and after."""

    async def submit(
        self,
        content,
        *,
        expires_in_s=86400,
        endpoint="/v1/chat/completions",
        file_expires_in_s=None,
        **fields,
    ):
        if isinstance(content, int):
            content = "\n".join(request_line(i) for i in range(content))
        data = content.encode() if isinstance(content, str) else content
        file_id = new_file_id()
        writer = self.blobs.create(file_key(file_id))
        await writer.write(data)
        await writer.commit()
        now = int(self.clock.now())
        file_expires_at = None if file_expires_in_s is None else now + file_expires_in_s
        await self.store.add_file(
            File(file_id, len(data), now, file_expires_at, "in.jsonl", "batch", file_key(file_id))
        )
        new = NewBatch(
            id=new_batch_id(),
            endpoint=endpoint,
            input_file_id=file_id,
            input_key=file_key(file_id),
            completion_window="24h",
            created_at=now,
            expires_at=now + expires_in_s,
            **fields,
        )
        return await self.store.add_batch(new)

    async def open_batch(self, *, expires_in_s=86400, **fields):
        """Add a batch that takes requests."""
        now, file_id = int(self.clock.now()), new_file_id()
        new = NewBatch(
            id=new_batch_id(),
            endpoint="/v1/chat/completions",
            input_file_id=file_id,
            input_key=file_key(file_id),
            completion_window="24h",
            created_at=now,
            expires_at=now + expires_in_s,
            appends=Appends(),
            **fields,
        )
        return await self.store.add_batch(new)

    async def append(self, batch, indexes, **body):
        """Append these requests to a batch, as the gateway does."""
        number, offset, lines = new_append(), 0, []
        writer = self.blobs.create(append_key(batch.id, number))
        for index in indexes:
            line = request_line(index, **body).encode() + b"\n"
            lines.append(AppendedLine(digest_of(f"id-{index}"), offset, len(line)))
            offset += len(line)
            await writer.write(line)
        await writer.commit()
        return await self.store.append(
            batch.id,
            Append(number, lines, body.get("model", "m")),
            limits=AppendLimits(1_000_000, 1 << 40),
            now=int(self.clock.now()),
        )

    async def finalize(self, batch):
        return await self.store.finalize(batch.id, now=int(self.clock.now()))

    def instead(self, part, **methods):
        """Let the dispatcher's store, blobs or upstream do this; each is called with the real one first."""
        self._instead[part] |= methods

    @asynccontextmanager
    async def running(self, **settings):
        """Run a dispatcher while the body runs; then stop it gracefully."""
        values = Settings(
            data_dir=self.tmp_path,
            upstream_url=self.upstream.url,
            **(FAST | settings),
            _env_file=None,
        )
        stop = self.stopping = asyncio.Event()
        # its own store: another process would have one too
        async with (
            AsyncExitStack() as stack,
            self.opened(self.tmp_path) as store,
            Upstream(
                self.upstream.url, api_key=None, timeout_s=values.request_timeout_s
            ) as upstream,
            Probe(
                values.backend_urls or [self.upstream.url],
                api_key=None,
                clock=self.clock,
                timeout_s=self.probe_timeout_s,
            ) as probe,
            Fetcher(values.media_rules, **self.fetching) as fetcher,
        ):
            blobs = stack.enter_context(closing(open_blobs(self.tmp_path / "blobs")))
            worker = Dispatcher(
                values,
                Instead(store, self._instead["store"]),
                Instead(blobs, self._instead["blobs"]),
                Instead(upstream, self._instead["upstream"]),
                probe,
                fetcher=fetcher,
                metrics=self.metrics,
                clock=self.clock,
                rests=self.rests,
                look_s=self.look_s,
            )
            task = asyncio.ensure_future(worker.run(stop))
            try:
                yield worker
            finally:
                stop.set()
                await task

    async def ended(self, batch, within_s=60):
        """Wait until the batch is terminal and return it."""
        found = batch

        async def has_ended():
            nonlocal found
            found = await self.store.get_batch(batch.id)
            return found.status in TERMINAL

        await until(has_ended, within_s=within_s, saw=lambda: found)
        return found

    async def is_in(self, batch, status):
        return (await self.store.get_batch(batch.id)).status is status

    async def is_paused(self, batch):
        return (await self.store.get_batch(batch.id)).paused_at is not None

    async def has_finished(self, batch, lines):
        return (await self.store.get_batch(batch.id)).counts.finished >= lines

    async def lines(self, file_id):
        """Parse a result file."""
        if file_id is None:
            return []
        file = await self.store.get_file(file_id, now=int(self.clock.now()))
        data = await self.blobs.read(file.blob_key)
        assert data.endswith(b"\n")
        return [json.loads(line) for line in data.decode().splitlines()]

    async def results(self, batch):
        """Return (output lines, error lines), checking that every id is there exactly once."""
        output = await self.lines(batch.output_file_id)
        errors = await self.lines(batch.error_file_id)
        ids = [line["custom_id"] for line in output + errors]
        assert len(ids) == len(set(ids)) == batch.counts.total
        assert len(output) == batch.counts.completed
        return output, errors


def opened(folder, *, clock=None):
    """Open the store in `folder`, a new one if there is none; use it as `async with`."""
    clock = clock or Clock()
    path = folder / "batchline.sqlite3"
    if not path.exists():
        new_database(path)
    return open_store(path, clock_ms=lambda: int(clock.now() * 1000))


async def _nothing_known():
    return None


async def finalizing(bench, lines=5, settled=None):
    """Bring a batch to `finalizing` by hand: admitted, all lines settled, not yet published.

    With fewer `settled`, the deadline has come before the rest.
    """
    batch = await admitted(bench, lines)
    await settle(bench, batch, range(lines if settled is None else settled))
    if settled is not None:
        await bench.store.lapse(now=batch.expires_at)
    batch = await bench.store.get_batch(batch.id)
    assert batch.status is BatchStatus.FINALIZING
    return batch


async def admitted(bench, lines):
    """Bring a batch to `in_progress` by hand; nothing of it is claimed."""
    batch = await bench.submit(lines)
    limits = Limits(lines=10_000, line_bytes=10_000, faults=50)
    admission = Admission(
        bench.store,
        bench.blobs,
        limits=limits,
        one_model=False,
        body=NO_RULES,
        served=_nothing_known,
        clock=Clock(),
    )
    await admission.admit(batch)
    return await bench.store.get_batch(batch.id)


async def settle(bench, batch, lines, *, body=b"{}"):
    """Claim what can be claimed, and give these lines the answer `body`, in this order."""
    claim = await claim_one(bench.store, batch, slices=99, holder="t", ttl_s=30)
    outcomes = {n: _answered(batch, n, body) for n in lines}
    segment = await bench.blobs.put_segment(
        segments_prefix(batch.id), [(o.index, o.record) for o in outcomes.values()]
    )
    groups = []
    for lease in claim.leases:
        first, count = lease.slice.first, lease.slice.count
        group = [outcomes[n] for n in range(first, first + count) if n in outcomes]
        groups.append((lease, group))
    await bench.store.settle([Settlement(batch.seq, segment, groups)], now=int(time.time()))


def _answered(batch, index, body):
    name = request_id(batch.id, index)
    record = answer_record(name, f"id-{index}", status=200, upstream_id="u", body=body)
    return Outcome(index, OutcomeKind.SUCCEEDED, record)
