"""The checks of what nothing names, and of what belongs to all batches: marks, tokens, leases.

Crashes leave bytes without a row behind; housekeeping deletes them by itself, so they are only noted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from batchline import figures
from batchline.blobs import Blobs
from batchline.blobs.keys import OWNER_KEY, PREFIXES
from batchline.errors import NotFound
from batchline.store.audit import Audit

from .damage import Damage, Delete, DropRows, ForgetGarbage, Found, RaiseToken, Severity, Sound

_KEYS_AT_ONCE = 1000
_MOST_ORPHANS = 100_000  # named to `repair` at once; the next run finds the rest


class Caution:
    """Lets no leftover be deleted where the rows may not say which bytes are needed."""

    def __init__(self) -> None:
        self._is_unsure = False

    def over(self, found: Found) -> Found:
        """Return the finding, without its repair if that would delete bytes of a database in doubt."""
        if isinstance(found, Damage):
            self._is_unsure |= found.check in {"database", "owner"}
            if self._is_unsure and isinstance(found.mend, Delete):
                return replace(found, mend=None, advice="mend the above first")
        return found


async def check_owner(audit: Audit, blobs: Blobs) -> Damage | Sound:
    """The bytes are marked as those of this database."""
    try:
        owner = (await blobs.read(OWNER_KEY)).decode("utf-8", "replace")
    except NotFound:
        return Sound("owner", "the bytes bear no mark yet; the dispatcher sets it at its start")
    if owner == await audit.identity():
        return Sound("owner", "the bytes belong to this database")
    return Damage(
        "owner",
        f"blobs/{OWNER_KEY}",
        "the bytes belong to another database",
        advice="put the right database back; if it is lost for good, delete this file",
    )


async def check_strays(audit: Audit) -> AsyncIterator[Damage]:
    """Yield rows and tokens that housekeeping and claims would stumble over."""
    ownerless = await audit.ownerless()
    if ownerless:
        text = f"rows of lines of {len(ownerless):,} batches lead nowhere"
        yield Damage("rows", "database", text, mend=DropRows(ownerless))
    last, highest = await audit.tokens()
    if highest > last:
        text = f"the last fencing token is {last}, a slice has {highest}"
        yield Damage("tokens", "database", text, mend=RaiseToken(highest))
    after, bad = "", []
    while keys := await audit.garbage_keys(after=after, limit=_KEYS_AT_ONCE):
        bad += [key for key in keys if not key.startswith(PREFIXES) or ".." in key.split("/")]
        after = keys[-1]
    if bad:
        text = f"{len(bad):,} notes about garbage name no blob: {bad[0]!r}"
        yield Damage("garbage", "database", text, mend=ForgetGarbage(bad))


async def check_leases(audit: Audit, at_work: Sequence[str]) -> AsyncIterator[Damage]:
    """Yield leases that nobody holds any more."""
    leased = {} if at_work else await audit.leased()
    for holder, slices in leased.items():
        text = (
            f"{slices:,} slices are leased by a dispatcher that is gone; the next takes them back"
        )
        yield Damage("leases", holder, text, Severity.NOTE)


async def check_orphans(audit: Audit, blobs: Blobs) -> AsyncIterator[Damage | Sound]:
    """Yield blobs that nothing names, and what dead writers left."""
    orphans: list[str] = []
    looked = orphan_bytes = 0
    for prefix in PREFIXES:
        async for keys in blobs.keys(prefix):
            looked += len(keys)
            for key in await audit.unnamed(keys):
                orphan_bytes += await blobs.size(key) or 0
                orphans.append(key)
            if len(orphans) >= _MOST_ORPHANS:
                break
    if orphans:
        text = (
            f"{len(orphans):,} blobs ({figures.size(orphan_bytes)}) are named by no row: {orphans[0]}; "
            "housekeeping deletes what stays so for an hour"
        )
        yield Damage("orphans", "blobs", text, Severity.NOTE, Delete(tuple(orphans)))
    else:
        yield Sound("orphans", f"each of {looked:,} blobs is named by a row")
    left, left_bytes = await blobs.abandoned()
    if left:
        text = (
            f"{left:,} temporary files ({figures.size(left_bytes)}) were left by writers that died; "
            "the next start deletes them"
        )
        yield Damage("temporary", "blobs/tmp", text, Severity.NOTE, Delete(abandoned=True))
