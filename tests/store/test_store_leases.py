"""`Leases`: roles, claims, fencing, processes that died. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, leases, settle, status

from batchline.states import BatchStatus

TTL_S = 30


def firsts(found):
    return [lease.slice.first for lease in found]


async def test_a_role_has_one_holder_until_it_lapses(store, clock):
    """Take or renew the store-wide lease on `role`; False while another holder has it."""
    assert await store.hold("sweep", holder="a", ttl_s=10)
    assert not await store.hold("sweep", holder="b", ttl_s=10)
    assert await store.hold("other", holder="b", ttl_s=10)
    clock.advance(9)
    assert await store.hold("sweep", holder="a", ttl_s=10)
    clock.advance(9)
    assert not await store.hold("sweep", holder="b", ttl_s=10)
    clock.advance(1)
    assert await store.hold("sweep", holder="b", ttl_s=10)


async def test_a_role_can_be_taken_over(store):
    """`take_over` is for a holder that knows to be alone (it owns the host's lock)."""
    await store.hold("sweep", holder="a", ttl_s=10)

    assert await store.hold("sweep", holder="b", ttl_s=10, take_over=True)
    assert not await store.hold("sweep", holder="a", ttl_s=10)


async def test_a_claim_leases_slices_of_several_batches(store, make_batch):
    """Lease up to so many open slices of each batch, in the order given, each in file order."""
    one, two = await make_batch(lines=20), await make_batch(lines=20)

    claim = await store.claim_each([(two, 2), (one, 1)], holder="a", ttl_s=TTL_S)
    rest = await store.claim_each([(one, 9), (two, 9)], holder="a", ttl_s=TTL_S)

    def places(claim):
        return [(lease.slice.batch_seq, lease.slice.first) for lease in claim.leases]

    assert places(claim) == [(two.seq, 0), (two.seq, 4), (one.seq, 0)]
    assert places(rest) == [(one.seq, n) for n in (4, 8, 12, 16)] + [
        (two.seq, n) for n in (8, 12, 16)
    ]
    assert claim.ttl_s == TTL_S
    assert claim.leases[0].slice in await store.slices(two)


async def test_nothing_is_claimed_of_a_batch_that_does_not_run(store, make_batch):
    """None of a batch that is paused or not in progress."""
    paused, lapsed, validating = (
        await make_batch(lines=4),
        await make_batch(lines=4, expires_in_s=5),
        await make_batch(),
    )
    await store.pause_batch(paused.id, now=NOW)
    await store.lapse(now=NOW + 5)

    wanted = [(batch, 9) for batch in (paused, lapsed, validating)]
    assert (await store.claim_each(wanted, holder="a", ttl_s=TTL_S)).leases == []


async def test_tokens_grow_with_every_claim(store, make_batch):
    """Each claim has a token that no claim had before, higher than all."""
    batch, other = await make_batch(lines=4), await make_batch(lines=4)

    (first,) = await leases(store, batch)
    await store.release([first])
    (again,) = await leases(store, batch)
    (third,) = await leases(store, other, holder="b")

    assert again.slice == first.slice
    assert first.token < again.token < third.token


async def test_a_slice_claimed_again_names_its_settled_lines(store, make_batch):
    """Lines that have an outcome are `Lease.done`."""
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch)
    await settle(store, batch, lease, [1, 3])
    await store.release([lease])

    (again,) = await leases(store, batch)

    assert (lease.done, again.done) == (frozenset(), {1, 3})


async def test_a_lapsed_lease_is_claimed_by_another(store, make_batch, clock):
    """Leases of others that have lapsed are open again."""
    batch = await make_batch(lines=4)
    await leases(store, batch, holder="a", ttl_s=TTL_S)

    clock.advance(TTL_S - 1)
    early = await leases(store, batch, holder="b")
    clock.advance(1)

    assert early == []
    assert firsts(await leases(store, batch, holder="b")) == [0]


async def test_a_holder_never_claims_what_it_holds(store, make_batch, clock):
    """One's own never lapse: a clock that jumped ahead is no reason to send their lines twice."""
    batch = await make_batch(lines=8)
    await leases(store, batch, slices=1, holder="a")
    clock.advance(3600)

    assert firsts(await leases(store, batch, holder="a")) == [4]
    assert await leases(store, batch, holder="a") == []


async def test_a_lease_holds_until_somebody_else_takes_it(store, make_batch, clock):
    """A lease is its holder's until the store's clock has passed its end and somebody else has taken it."""
    batch = await make_batch(lines=8)
    one, two = await leases(store, batch, holder="a/1", ttl_s=TTL_S)
    clock.advance(TTL_S + 1)

    assert (await settle(store, batch, one)).lines == 4
    assert firsts(await leases(store, batch, holder="b/1")) == [4]
    assert (await settle(store, batch, two)).lines == 0


async def test_a_renewed_lease_does_not_lapse(store, make_batch, clock):
    """Prolong the leases; return those lost, as (batch_seq, first): revoked or claimed anew."""
    batch, cancelled = await make_batch(lines=8), await make_batch(lines=4)
    kept, lost = await leases(store, batch, holder="a", ttl_s=TTL_S)
    (revoked,) = await leases(store, cancelled, holder="a", ttl_s=TTL_S)
    await store.cancel_batch(cancelled.id, now=NOW)
    clock.advance(TTL_S - 1)
    assert await store.renew([kept], ttl_s=TTL_S) == set()
    clock.advance(TTL_S - 1)

    assert firsts(await leases(store, batch, holder="b")) == [4]
    assert await store.renew([kept, lost, revoked], ttl_s=TTL_S) == {
        (batch.seq, 4),
        (cancelled.seq, 0),
    }


async def test_released_slices_are_open_again(store, make_batch, clock):
    """Give unfinished slices back; leases lost meanwhile are left alone."""
    batch = await make_batch(lines=12)
    done, kept, lost = await leases(store, batch, holder="a", ttl_s=TTL_S)
    await settle(store, batch, done)
    clock.advance(TTL_S)
    await store.renew([kept], ttl_s=TTL_S)
    await leases(store, batch, holder="b")  # takes what has lapsed

    await store.release([done, kept, lost])

    assert firsts(await leases(store, batch, holder="c")) == [4]


async def test_a_holder_gives_back_what_it_does_not_know_of(store, make_batch):
    """Give back slices that this very holder leased and knows nothing of; return how many.

    Such are left by a claim whose answer was lost, and by leases that it could not renew in time.
    """
    batch = await make_batch(lines=16)
    known = await leases(store, batch, slices=1, holder="a/1")
    await leases(store, batch, slices=2, holder="a/1")  # the answer was lost
    await leases(store, batch, slices=1, holder="a/2")

    assert await store.release_others("a/1", known) == 2
    assert firsts(await leases(store, batch, holder="b/1")) == [4, 8]


async def test_recover_takes_back_what_a_dead_process_held(store, make_batch):
    """Give back every slice leased by a holder with this prefix; return how many.

    A holder names itself as `cell/incarnation`.
    """
    batch = await make_batch(lines=12)
    await leases(store, batch, slices=2, holder="here/1")
    await leases(store, batch, slices=1, holder="there/1")

    assert await store.recover("here/", died=True) == 2
    assert firsts(await leases(store, batch, holder="here/2")) == [0, 4]


async def test_deaths_count_against_what_a_process_worked_on(store, make_batch):
    """Its process is known to be gone.

    If it `died`, that counts against the batches it worked on (`Batch.deaths`): those it leased slices
    of, and those it began.
    """
    leased, begun, idle = await make_batch(lines=8), await make_batch(), await make_batch(lines=8)

    async def deaths():
        return [(await store.get_batch(batch.id)).deaths for batch in (leased, begun, idle)]

    await leases(store, leased, slices=1, holder="a/1")
    await store.begin(begun, holder="a/1")
    await store.recover("a/", died=False)
    stopped = await deaths()
    for _ in range(2):
        await leases(store, leased, slices=1, holder="a/1")
        await store.begin(begun, holder="a/1")
        await store.recover("a/", died=True)
    await store.recover("a/", died=True)  # it held nothing

    assert (stopped, await deaths()) == ([0, 0, 0], [2, 2, 0])


async def test_deaths_are_counted_from_the_last_line_that_was_finished(store, make_batch):
    """A result in between begins the count anew, as `Batch.deaths` says."""
    batch = await make_batch(lines=8)

    async def deaths():
        return (await store.get_batch(batch.id)).deaths

    (lease,) = await leases(store, batch, slices=1, holder="a/1")
    await store.recover("a/", died=True)
    before = await deaths()
    (lease,) = await leases(store, batch, slices=1, holder="a/1")
    await settle(store, batch, lease, [0])
    between = await deaths()
    await store.recover("a/", died=True)

    assert (before, between, await deaths()) == (1, 0, 1)


@pytest.mark.parametrize("move", ["resume", "cancel", "lapse", "drain"])
async def test_deaths_are_forgotten_when_a_batch_moves_on(store, make_batch, move):
    """What comes next is begun with a clean slate."""
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch, holder="a/1")
    await store.recover("a/", died=True)

    match move:
        case "resume":
            await store.pause_batch(batch.id, now=NOW)
            await store.resume_batch(batch.id)
        case "cancel":
            await store.cancel_batch(batch.id, now=NOW)
        case "lapse":
            await store.lapse(now=batch.expires_at)
        case _:
            (lease,) = await leases(store, batch, holder="a/1")
            await settle(store, batch, lease)
            assert await status(store, batch) is BatchStatus.FINALIZING

    assert (await store.get_batch(batch.id)).deaths == 0
