"""What a dispatcher that starts takes back from its dead predecessor on this host.

It owns the host's lock, so whoever held leases under the name of this cell is gone.
"""

from __future__ import annotations

import logging

from batchline.metrics import Metrics
from batchline.store import Leases

log = logging.getLogger(__name__)

ROLE = "dispatch"
ROLE_TTL_S = 30.0


async def take_over(store: Leases, *, holder: str, metrics: Metrics) -> None:
    """Take the role, and back every slice that another incarnation of this cell leased."""
    await store.hold(ROLE, holder=holder, ttl_s=ROLE_TTL_S, take_over=True)
    cell = holder.partition("/")[0]
    freed = await store.recover(f"{cell}/", died=True)
    if freed:
        metrics.recovered.inc(freed)
        log.info("took back %d slices of a dispatcher that died", freed)
