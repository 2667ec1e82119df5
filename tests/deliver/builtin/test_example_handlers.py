"""The handlers of examples/handlers, as a reader copies them."""

from __future__ import annotations

import logging
from pathlib import Path

from buckets import KEYS, REGION

from batchline.webhooks.records import DeliveryState

EXAMPLES = Path(__file__).parents[3] / "examples" / "handlers"


async def test_each_example_handles_a_batch(
    make_handlers, cluster, buckets, tmp_path, monkeypatch, caplog
):
    """Both forms, and those that write to a database and into a bucket."""
    caplog.set_level(logging.INFO, "deliver.handling.limited_process")
    for name, value in KEYS.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    buckets.client.create_bucket(Bucket="answers")
    (tmp_path / "handlers").symlink_to(EXAMPLES)
    sections = {
        "my-answers": {"folder": str(tmp_path)},
        "my-postgres": {"url": cluster.url},
        "my-s3": {"bucket": "answers", "endpoint": buckets.url, "region": REGION},
    }
    bench = await make_handlers(sections=sections)
    batch = await bench.completed(3, failed=[1], metadata={"team": "a"})

    await bench.round()

    ends = {one.handler: (one.state, one.last_error) for one in await bench.deliveries()}
    assert ends == dict.fromkeys([*sections, "my-summary"], (DeliveryState.DELIVERED, None))
    assert (tmp_path / f"{batch.id}.txt").read_text().splitlines() == [
        "c0: answer 0",
        "c1 failed: ('server_error', 'it died')",
        "c2: answer 2",
    ]
    summary = f"{batch.id} my-summary: {batch.id} {{'team': 'a'}}: 3 results, failed: ['c1']"
    assert summary in caplog.messages
    assert await cluster.rows("SELECT * FROM answers ORDER BY custom_id") == [
        {"batch_id": batch.id, "custom_id": f"c{i}", "answer": f"answer {i}"} for i in (0, 2)
    ]
    objects = buckets.objects("answers")
    assert set(objects) == {f"{batch.id}/{i:08}.json" for i in (0, 2)}
    assert b'"answer 2"' in objects[f"{batch.id}/00000002.json"]
