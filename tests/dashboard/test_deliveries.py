"""The panel of deliveries and its notices, pure and as HTML."""

from __future__ import annotations

import re

import pytest
from scene import NOW, delivery, overview, to_handler, told, waiting

from batchline.webhooks.records import DeliveryState, OutboxFigures, OutboxOverview
from dashboard.deliveries_panel import deliveries
from dashboard.history import History
from dashboard.page import show

CALM = OutboxOverview(endpoints=1)


def heads(outbox):
    """Return tone and first sentence of the notices that an outbox makes."""
    page = show(overview(outbox=outbox), History(), now=NOW)
    tones = [tone for tone, _ in page.parts["notices"].shown]
    return [(tone, page.figures[f"n.{i}.head"]) for i, tone in enumerate(tones)]


@pytest.mark.parametrize(
    ("outbox", "is_shown"),
    [
        (OutboxOverview(), False),
        (OutboxOverview(unaddressed_since=NOW - 900), False),
        (OutboxOverview(unaddressed_since=NOW, has_callback=True), True),
        (OutboxOverview(has_standing=True), True),
        (OutboxOverview(endpoints=1), True),
        (OutboxOverview(newest=(delivery(1),)), True),
    ],
    ids=["nothing", "nobody asked", "a batch asked", "the operator", "an endpoint", "a delivery"],
)
def test_the_panel_is_there_where_anybody_asked(outbox, is_shown):
    """Who uses no webhooks is not bothered."""
    assert deliveries(outbox, now=NOW).is_used is is_shown


@pytest.mark.parametrize(
    ("figures", "head"),
    [
        (OutboxFigures(0, None, 0), "None pending"),
        (OutboxFigures(1200, NOW - 1500, 0), "1,200 pending, the oldest for 25 minutes"),
        (OutboxFigures(0, None, 3), "None pending, 3 given up"),
    ],
)
def test_the_head_counts_what_waits_and_what_was_given_up(figures, head):
    """And how long the oldest has waited."""
    panel = deliveries(OutboxOverview(figures=figures), now=NOW)

    assert panel.figures == {"dlv.head": head}


def test_a_row_says_what_becomes_of_a_delivery():
    """In words; the time of the next try while there is one; the error until it is taken."""
    rows = {row.id: row for row in deliveries(told(), now=NOW).rows}

    words = {name: (r.pill.word, r.attempts, bool(r.next_at), r.is_due) for name, r in rows.items()}
    assert words == {
        "dlv_213": ("Running", "0", False, False),
        "dlv_212": ("Retrying", "2", True, False),
        "dlv_211": ("Pending", "0", False, True),
        "dlv_210": ("Delivered", "1", False, False),
        "dlv_209": ("Delivered", "3", False, False),
        "dlv_207": ("Retrying", "7", True, False),
        "dlv_206": ("Given up", "48", False, False),
        "dlv_205": ("Given up", "1", False, False),
    }
    assert rows["dlv_207"].why == "It answered 503."
    assert rows["dlv_209"].why == ""
    assert rows["dlv_212"].why.startswith("The handler failed: OSError")
    handlers = {name: row.receiver for name, row in rows.items() if row.is_handler}
    assert handlers == {"dlv_213": "reviews", "dlv_212": "exports"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1,500 of 2,000 results"),
        ({"lines_total": None}, "1,500 results"),
        ({"state": DeliveryState.GIVEN_UP}, "1,500 of 2,000 results"),
        ({"state": DeliveryState.DELIVERED, "lines_done": 2000}, None),
    ],
    ids=["at work", "batch deleted", "given up", "done"],
)
def test_a_handler_that_is_not_done_says_how_far_it_came(changes, said):
    """Of how many, while the batch is there."""
    panel = deliveries(OutboxOverview(newest=(to_handler(7, "reviews", **changes),)), now=NOW)

    assert panel.figures.get("dlv.7.lines") == said
    assert panel.rows[0].has_progress is (said is not None)


def test_a_figure_that_moves_leaves_the_rows_as_they_are():
    """The table is not fetched anew each second, nor while a handler works."""
    working = [to_handler(7, "reviews", lines_done=n) for n in (10, 20)]
    one, two = (deliveries(OutboxOverview(newest=(each,)), now=NOW) for each in working)
    before, after = (deliveries(told(), now=NOW + s) for s in (0, 100))

    assert (one.figures != two.figures, repr(one)) == (True, repr(two))
    assert (before.figures != after.figures, repr(before)) == (True, repr(after))


@pytest.mark.parametrize(("wait_s", "count"), [(600, 0), (601, 1)])
def test_a_receiver_that_takes_nothing_for_long_is_a_notice(wait_s, count):
    """Its host, since when, and the last error; nothing of the URL that may be secret."""
    outbox = OutboxOverview(endpoints=1, waiting=(waiting(1, wait_s=wait_s),))
    page = show(overview(outbox=outbox), History(), now=NOW)

    found = heads(outbox)

    assert found == [("warn", "An event for hooks.example.com has waited for 10 minutes.")] * count
    assert page.figures.get("n.0.text", "It answered 503.").startswith("It answered 503.")
    assert "token=" not in repr(page) + repr(page.figures)


def test_a_batch_that_waits_long_for_a_handler_is_a_notice():
    """Its name, why, and where to look; not while it is at work, however long that takes."""
    long_ago = {"since": NOW - 1500, "last_error": "The handler failed: it died"}
    stuck, busy = (to_handler(1, "reviews", **long_ago, leased_until=NOW + s) for s in (0, 20))
    outbox = OutboxOverview(waiting=(stuck,))

    page = show(overview(outbox=outbox), History(), now=NOW)

    assert heads(outbox) == [("warn", "A batch has waited for the handler reviews for 25 minutes.")]
    text = page.figures["n.0.text"]
    assert text.startswith("The handler failed: it died. It is tried again for 72 hours in all.")
    assert "batchline handlers" in text
    assert heads(OutboxOverview(waiting=(busy,))) == []


def test_each_late_receiver_is_a_notice():
    """The one that waits longest comes first."""
    late = (waiting(1, "a.example", wait_s=1500), waiting(2, "b.example", wait_s=900))

    found = heads(OutboxOverview(endpoints=1, waiting=late))

    assert [head.split()[3] for _, head in found] == ["a.example", "b.example"]


@pytest.mark.parametrize(("wait_s", "count"), [(30, 0), (31, 1)])
def test_events_that_nobody_addresses_mean_that_no_deliverer_runs(wait_s, count):
    """Said instead of the late receivers, whose lateness it explains."""
    late = (waiting(1, wait_s=1500),) if count else ()
    outbox = OutboxOverview(endpoints=1, unaddressed_since=NOW - wait_s, waiting=late)

    head = f"No deliverer seems to run: an event has waited for {wait_s} seconds."
    assert heads(outbox) == [("bad", head)] * count


def test_events_that_nobody_asked_for_are_no_notice():
    """Without endpoints, deliveries, callback URLs and settings nobody waits for them."""
    assert heads(OutboxOverview(unaddressed_since=NOW - 900)) == []
    assert len(heads(OutboxOverview(unaddressed_since=NOW - 900, has_standing=True))) == 1
    assert heads(CALM) == []


async def test_the_panel_shows_hosts_and_states(client, put):
    """Readable without JavaScript; what may be secret in a URL is not on the page."""
    put(overview(outbox=told()))

    html = await (await client.get("/ui/part/deliveries")).text()

    text = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert "4 pending, the oldest for 25 minutes, 2 given up" in text
    assert "handler reviews 1,500 of 2,000 results" in text
    assert "handler exports 64 of 2,000 results The handler failed: OSError" in text
    for part in ("labels.lab.example:8443", "Retrying", "Given up", "Delivered", "01:34 UTC"):
        assert part in text
    assert "token=" not in html
    assert " hidden>" not in html


async def test_only_what_can_be_replayed_has_a_button(client, put):
    """All but what went to an endpoint that is gone; the form of the page is theirs."""
    put(overview(outbox=told()))

    html = await (await client.get("/")).text()

    found = re.findall(r'<button class="link" form="(\w+)" name="(\w+)" value="(\w+)"', html)
    assert found == [
        ("replay", "delivery", f"dlv_{n}") for n in (213, 212, 211, 210, 209, 207, 206)
    ]
    assert '<form id="replay" method="post" action="/replay">' in html


async def test_the_panel_is_hidden_where_nobody_asked(client):
    """It is on the page, since it may come to life."""
    html = await (await client.get("/ui/part/deliveries")).text()

    assert " hidden>" in html


async def test_hostile_text_of_a_receiver_is_inert(client, put):
    """Its host and what went wrong there never become markup."""
    hostile = "<script>alert(1)</script>"
    outbox = OutboxOverview(newest=(waiting(1, f"{hostile}", wait_s=1, last_error=hostile),))
    put(overview(outbox=outbox))

    html = await (await client.get("/ui/part/deliveries")).text()

    assert "<script>" not in html
    assert "&lt;script&gt;" in html
