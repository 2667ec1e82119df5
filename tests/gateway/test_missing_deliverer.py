"""The page says that nobody delivers where the operator set who gets the ends of batches."""

from __future__ import annotations

import pytest

SECRET = "whsec_" + "c2VjcmV0" * 5


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ({"webhook_url": "https://ops.example.org/", "webhook_secret": SECRET}, True),
        ({"handlers_file": "handlers.yaml"}, True),
        ({"handlers_folder": "handlers"}, True),
        ({}, False),
    ],
    ids=["a URL", "a file", "a folder", "nobody"],
)
async def test_an_event_that_the_operator_wants_waits_for_a_deliverer(
    starts, store, make_batch, clock, settings, is_said
):
    """Though there is no endpoint, and nothing was ever delivered."""
    gateway = await starts(with_pages=True, **settings)
    assert await store.reject(await make_batch(), [], now=int(clock()))
    clock.advance(31)

    async with gateway.http.get(gateway.url + "/") as answer:
        page = await answer.text()

    assert ("No deliverer seems to run: an event has waited for 31 seconds." in page) is is_said
