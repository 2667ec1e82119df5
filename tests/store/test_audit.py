"""`Audit`: all that one moment of a database says. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, answered, file, leases, settle

from batchline.api.upload_rules import Part, Upload, UploadStatus
from batchline.errors import StoreUnavailable
from batchline.model import SegmentRef, Settlement
from batchline.states import OUTCOME_CODES, OutcomeKind, SliceState
from batchline.store.audit import BatchRows, SegmentRow, SliceRow

GOOD, BAD = OUTCOME_CODES[OutcomeKind.SUCCEEDED], OUTCOME_CODES[OutcomeKind.FAILED]


async def test_it_is_one_moment(engine, store, make_batch):
    """See the database at `path` as it is now; one of an older schema as it would be migrated.

    It changes nothing, and what is changed meanwhile it does not see.
    """
    await make_batch()
    async with engine.audit() as audit:
        await make_batch()
        inside = await audit.batches(after=0, limit=9)
        assert await audit.files(after=0, limit=9) == []
        await store.add_file(file())
        assert await audit.files(after=0, limit=9) == []
    async with engine.audit() as audit:
        outside = await audit.batches(after=0, limit=9)

    assert (len(inside), len(outside)) == (1, 2)


async def test_a_database_of_an_older_schema_is_left_as_it_is(engine):
    """It is seen as it would be migrated."""
    engine.make_older()
    before = engine.path.read_bytes()

    async with engine.audit() as audit:
        assert await audit.batches(after=0, limit=9) == []

    assert engine.path.read_bytes() == before


async def test_what_cannot_be_read_is_unavailable(engine, store, make_batch):
    """Whatever reads rows raises StoreUnavailable where they are damaged."""
    batch = await make_batch(lines=4)
    key = [batch.input_key]
    wrong = []
    with engine.refusing():
        async with engine.audit() as audit:
            asked = {
                "batches": lambda: audit.batches(after=0, limit=9),
                "files": lambda: audit.files(after=0, limit=9),
                "garbage_keys": lambda: audit.garbage_keys(after="", limit=9),
                "identity": audit.identity,
                "known_files": lambda: audit.known_files(["file-a"]),
                "leased": audit.leased,
                "outcomes": lambda: audit.outcomes(batch, start=0, stop=9),
                "ownerless": audit.ownerless,
                "parts": lambda: audit.parts(after=("", ""), limit=9),
                "rows_of": lambda: audit.rows_of(batch),
                "files_of": lambda: audit.files_of(batch),
                "tokens": audit.tokens,
                "unnamed": lambda: audit.unnamed(key),
            }
            for name, call in asked.items():
                try:
                    wrong.append((name, await call()))
                except StoreUnavailable:
                    continue

    assert wrong == []


@pytest.mark.parametrize("quick", [True, False])
async def test_a_sound_database_has_nothing_wrong(engine, store, make_batch, quick):
    """Return what is wrong with the file itself, at most a hundred lines; `quick` leaves indexes out."""
    await make_batch(lines=4)

    async with engine.audit() as audit:
        assert await audit.integrity(quick=quick) == []


async def test_it_names_the_database(engine, store):
    """Return what `Upkeep.identity` does."""
    async with engine.audit() as audit:
        assert await audit.identity() == await store.identity()


async def test_batches_and_files_come_in_pages(engine, store, make_batch):
    """Return up to `limit` batches with a `seq` above `after`, by it.

    Return up to `limit` (number, file) with a number above `after`, by it; expired ones too.
    """
    batches = [await make_batch() for _ in range(3)]
    files = [file("a"), file("b", expires_at=NOW - 1), file("c")]
    for one in files:
        await store.add_file(one)

    async with engine.audit() as audit:
        first = await audit.batches(after=0, limit=2)
        rest = await audit.batches(after=first[-1].seq, limit=2)
        some = await audit.files(after=0, limit=2)
        others = await audit.files(after=some[-1][0], limit=2)

    assert [*first, *rest] == batches
    assert [one for _, one in (*some, *others)] == files


async def test_known_files_are_those_with_a_row(engine, store):
    """Return those of the files that have a row."""
    await store.add_file(file())
    async with engine.audit() as audit:
        assert await audit.known_files(["file-no", "file-a"]) == {"file-a": file()}


async def test_rows_of_a_batch(engine, store, make_batch):
    """Return the rows of one batch, with what they count and what there is."""
    batch = await make_batch(lines=8)
    await leases(store, batch, slices=1)
    one, two = await store.slices(batch)
    (second,) = await leases(store, batch)
    await settle(store, batch, second, kind=OutcomeKind.FAILED)
    (segment,) = await store.segments(batch)

    async with engine.audit() as audit:
        rows = await audit.rows_of(batch)

    assert rows == BatchRows(
        slices=[SliceRow(one, SliceState.LEASED, 0, 0), SliceRow(two, SliceState.DONE, 4, 4)],
        segments=[SegmentRow(segment.number, segment.ref, 0, 4, 4)],
        kinds={BAD: 4},
        homeless=0,
    )


async def test_outcomes_without_a_segment_are_counted(engine, store, make_batch):
    """`BatchRows.homeless` has them."""
    batch = await make_batch(lines=4)
    await settle(store, batch, (await leases(store, batch))[0], [0, 1])
    engine.lose_segments()

    async with engine.audit() as audit:
        rows = await audit.rows_of(batch)

    assert (rows.homeless, rows.segments, rows.kinds) == (2, [], {GOOD: 2})


async def test_the_files_that_segments_lie_in(engine, store, make_batch):
    """The end of what is needed of each, wherever it begins."""
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch)
    places = [("segments/x", 0), ("segments/x", 10), ("segments/y", 5)]
    for line, (key, offset) in enumerate(places):
        groups = [(lease, [answered(line)])]
        await store.settle([Settlement(batch.seq, SegmentRef(key, offset, 10), groups)], now=NOW)

    async with engine.audit() as audit:
        assert await audit.files_of(batch) == {"segments/x": 20, "segments/y": 15}


async def test_outcomes_are_those_of_the_store(engine, store, make_batch):
    """Return what `Outcomes.outcomes` does."""
    batch = await make_batch(lines=4)
    await settle(store, batch, (await leases(store, batch))[0], [0, 2, 3])

    async with engine.audit() as audit:
        found = await audit.outcomes(batch, start=1, stop=9)

    theirs = await store.outcomes(batch, start=1, stop=9)
    assert [tuple(row) for row in found] == [tuple(row) for row in theirs]
    assert [row[0] for row in found] == [2, 3]


async def test_parts_of_pending_uploads_come_in_pages(engine, store):
    """Return up to `limit` parts of pending uploads whose (upload, id) is above `after`, by it."""
    for name in "abc":
        upload = Upload(f"upload_{name}", UploadStatus.PENDING, 4, NOW, NOW + 9, "f", "batch")
        await store.add_upload(upload)
        for number in range(2):
            part = Part(f"part_{number}", upload.id, 1, NOW)
            await store.add_part(part, now=NOW, max_bytes=9)
    await store.cancel_upload("upload_b", now=NOW)

    async with engine.audit() as audit:
        first = await audit.parts(after=("", ""), limit=3)
        rest = await audit.parts(after=(first[-1].upload_id, first[-1].id), limit=3)

    names = [(part.upload_id[-1], part.id[-1]) for part in (*first, *rest)]
    assert names == [("a", "0"), ("a", "1"), ("c", "0"), ("c", "1")]


async def test_blobs_that_nothing_names(engine, store, make_batch):
    """Return those blob keys that nothing names, in the sense of `Upkeep.note_unnamed`."""
    batch = await make_batch(lines=4)
    keys = [batch.input_key, "files/lost", f"segments/{batch.id}/x"]

    async with engine.audit() as audit:
        assert await audit.unnamed(keys) == ["files/lost"]


async def test_garbage_comes_in_pages(engine, store):
    """Return up to `limit` keys of garbage above `after`, by name."""
    for name in "cab":
        await store.add_file(file(name, key=f"files/{name}"))
        await store.delete_file(f"file-{name}")

    async with engine.audit() as audit:
        first = await audit.garbage_keys(after="", limit=2)
        rest = await audit.garbage_keys(after=first[-1], limit=2)

    assert (first, rest) == (["files/a", "files/b"], ["files/c"])


async def test_rows_without_an_owner(engine, make_batch, store):
    """Return the `batch_seq` of rows of lines that no slice and so no housekeeping leads to."""
    batch = await make_batch(lines=4)
    await settle(store, batch, (await leases(store, batch))[0])
    async with engine.audit() as audit:
        before = await audit.ownerless()
    async with engine.mending() as mending:
        await mending.recut(batch, [])

    async with engine.audit() as audit:
        assert (before, await audit.ownerless()) == ([], [batch.seq])


async def test_tokens_and_leases_are_told(engine, make_batch, store):
    """Return the last fencing token that was given out, and the highest that a slice has.

    Return holder -> slices that it has leased.
    """
    batch, other = await make_batch(lines=12), await make_batch(lines=4)
    await leases(store, batch, slices=2, holder="a")
    (lease,) = await leases(store, batch, holder="b")
    (last,) = await leases(store, other, holder="c")
    async with engine.mending() as mending:
        await mending.recut(other, [])

    async with engine.audit() as audit:
        tokens, leased = await audit.tokens(), await audit.leased()

    assert tokens == (last.token, lease.token)
    assert leased == {"a": 2, "b": 1}
