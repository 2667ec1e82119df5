"""The deliverer process: opens what it needs, delivers until it is told to stop.

Several may run on one data directory: each delivery is leased to one of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

from batchline.blobs import open_blobs
from batchline.child_environment import child_environment
from batchline.clock import Clock
from batchline.errors import Invalid
from batchline.metrics import Metrics
from batchline.process.locks import DELIVERER_LOCK, present
from batchline.serving.identity import Part
from batchline.serving.ops import serve_ops
from batchline.serving.request_log import bounded_request_log
from batchline.settings import Settings
from batchline.store import open_store
from batchline.webhooks.addresses import accepted_url
from batchline.webhooks.post import open_poster
from batchline.webhooks.records import Standing

from .deliverer import LEASE_S, Deliverer, Wanted
from .handling.attempts import HandlerAttempts
from .handling.found import has_packages
from .handling.survey import Installed, survey

log = logging.getLogger(__name__)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the deliverer until `stop` is set. Raises StoreUnavailable, NewerStore, Invalid."""
    clock, metrics = Clock(), Metrics(cell=settings.cell)
    installed = await installed_by(settings)
    wanted = wanted_by(settings, installed)
    async with AsyncExitStack() as stack:
        is_present = await stack.enter_async_context(
            present(settings.data_dir, stop, name=DELIVERER_LOCK)
        )
        if not is_present:
            return
        store = await stack.enter_async_context(
            open_store(settings.database_path, clock_ms=lambda: int(clock.now() * 1000))
        )
        poster = await stack.enter_async_context(open_poster(settings.webhook_networks))
        await stack.enter_async_context(bounded_request_log(metrics.unlogged_requests.inc))
        await stack.enter_async_context(serve_ops(Part.DELIVERER, settings, metrics))
        handlers = HandlerAttempts(
            store,
            open_blobs(settings.blobs_dir),
            installed,
            lease_s=LEASE_S,
            metrics=metrics,
            clock=clock,
            luck=random.random,
        )
        await Deliverer(store, poster, wanted, metrics=metrics, clock=clock, handlers=handlers).run(
            stop
        )


async def installed_by(settings: Settings) -> Sequence[Installed]:
    """Look for handlers. Raises Invalid: those that the operator wants cannot all be run."""
    file, folder = settings.handlers_file, settings.handlers_folder
    if file is None and folder is None and not has_packages():
        return ()
    found = await survey(file, folder, child_environment())
    if found.faults:
        raise Invalid("Bad handlers:\n  " + "\n  ".join(found.faults))
    for one in found.installed:
        log.info("handler %s (%s)", one.name, one.runnable.source)
    return found.installed


def wanted_by(settings: Settings, installed: Sequence[Installed] = ()) -> Wanted:
    """Say who gets which events. Raises Invalid."""
    url, secret = settings.webhook_url, settings.webhook_secret
    handlers = [one.standing for one in installed]
    if url is None:
        return Wanted(handlers, secret)
    if secret is None:
        raise Invalid(
            "BATCHLINE_WEBHOOK_URL needs BATCHLINE_WEBHOOK_SECRET, which signs what is told to it. "
            "Run `batchline webhooks secret` to make one."
        )
    accepted_url(url, param="BATCHLINE_WEBHOOK_URL", networks=settings.webhook_networks)
    return Wanted([Standing(url), *handlers], secret)
