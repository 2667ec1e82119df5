"""The replay button in a real browser, with JavaScript and without, against a gateway that asks for a key."""

from __future__ import annotations

import json

import pytest
from chromium import PROGRAM, open_page
from processes import System
from waiting import until

from batchline.model import NewBatch, new_batch_id
from batchline.settings import Settings
from batchline.store import open_store
from batchline.webhooks.records import Attempted, DeliveryState

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)"),
]

KEY = "sk-for-people-and-programs"
BUTTON = "document.querySelector('button[form=replay]')"
NOW = 1_800_000_000


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path, "http://127.0.0.1:9", api_key=KEY)
    made.start("gateway")
    made.until_logged("listens on")
    yield made
    made.stop()


@pytest.fixture
async def store(system):
    """The gateway's own database, opened here too."""
    path = Settings(data_dir=system.data).database_path
    async with open_store(path, clock_ms=lambda: NOW * 1000) as opened:
        yield opened


async def deliver(store):
    """Leave a delivery that its receiver took."""
    batch = await store.add_batch(
        NewBatch(
            id=new_batch_id(),
            endpoint="/v1/chat/completions",
            input_file_id="file-in",
            input_key="files/in",
            completion_window="24h",
            created_at=NOW,
            expires_at=NOW + 86400,
            callback_url="https://hooks.example.com/batch",
        )
    )
    assert await store.reject(batch, [], now=NOW)
    await store.address_events([], calls_back=True, now=NOW, limit=9)
    (claimed,) = await store.claim_deliveries(now=NOW, limit=1, ttl_s=30)
    await store.record_attempt(claimed, Attempted(DeliveryState.DELIVERED, status=200), now=NOW)


async def sign_in(page, url):
    await page.call("Page.navigate", url=url)
    await page.until("document.getElementById('key') && document.readyState === 'complete'")
    await page.evaluate(f"document.getElementById('key').value = {json.dumps(KEY)}")
    await page.evaluate("document.querySelector('.sign-in button').click()")
    await page.until(f"{BUTTON} !== null && document.readyState === 'complete'")


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
async def test_a_reader_delivers_once_more(system, store, has_script):
    """One press, and the panel says that it is pending."""
    await deliver(store)
    async with open_page() as page:
        await page.call("Emulation.setScriptExecutionDisabled", value=not has_script)
        await sign_in(page, system.url + "/")
        assert await page.evaluate("document.querySelector('#h-deliveries').offsetHeight > 0")

        await page.evaluate(f"{BUTTON}.click()")

        await page.until("location.hash === '#h-deliveries' && document.readyState === 'complete'")
        await page.until(
            "document.querySelector('[data-part=deliveries] .st')?.textContent === 'Pending'"
        )
        assert page.problems == [], json.dumps(page.problems)

    async def is_pending():
        (delivery,) = await store.list_deliveries(limit=9)
        return delivery.state is DeliveryState.PENDING

    await until(is_pending)


async def test_a_page_without_script_loads_itself_anew_at_any_place(client):
    """Also where its address leads to a panel, as after the button."""
    async with open_page() as page:
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.go(str(client.make_url("/")) + "#h-deliveries")
        await page.evaluate("window.isOld = true")

        await page.until("window.isOld !== true")
