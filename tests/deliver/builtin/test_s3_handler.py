"""The handler for S3, against a server that speaks it."""

from __future__ import annotations

import asyncio
import json

from attempting import attempted, replayed
from buckets import KEYS
from ended_batches import chat_answer, chat_request
from handler_bench import survey_of
from waiting import until

from batchline.blobs.keys import file_key
from batchline.jsonl.result_lines import record_index
from batchline.webhooks.records import DeliveryState

PENDING, DELIVERED, GIVEN_UP = DeliveryState
LINES = 300

DYING = """
    import os, pathlib, signal, time
    from deliver.builtin.s3 import S3

    there = pathlib.Path(%r)

    @register_handler
    class Dying(S3):
        name = "dying"
        part_bytes = 5 << 20  # S3 takes no smaller ones
        has_waited = False

        async def handle(self, batch, results, context):
            chunks = results.chunks

            async def watched(most, **bounds):
                async for chunk in chunks(most, **bounds):
                    yield chunk
                    if results.taken > 200:  # a part or two are there
                        self.interrupt(context.attempt)

            results.chunks = watched
            await super().handle(batch, results, context)

        def interrupt(self, attempt):
            if there.with_name("well").exists():
                return
            if attempt == 1:
                raise ValueError("told")
            if attempt in (2, 3):
                os.kill(os.getpid(), signal.SIGKILL)
            if attempt == 4 and not self.has_waited:
                self.has_waited = True
                there.touch()
                while there.exists():
                    time.sleep(0.01)  # the test stops the server meanwhile
"""


async def test_the_results_become_one_object_whatever_dies(make_handlers, buckets, tmp_path):
    """The handler's process twice, when some parts were there; the server once."""
    buckets.client.create_bucket(Bucket="whole")
    settings = {"url": "s3://whole/of/them/", **buckets.settings}
    there = tmp_path / "there"
    bench = await make_handlers(DYING % str(there), sections={"dying": settings})
    batch = await bench.completed(LINES, failed=[7, 107], refused=[8], body_of=long_answer)

    failed = await attempted(bench)
    left = buckets.uploads("whole")
    killed = [await attempted(bench) for _ in range(2)]
    away = await away_meanwhile(buckets, there, bench)
    seen = buckets.objects("whole")
    done = await attempted(bench)

    assert (failed, left) == ((PENDING, "The handler failed: ValueError: told", 0), [])
    assert killed == [(PENDING, "The handler failed: it was ended by signal 9", 0)] * 2
    assert away[0] is PENDING
    assert "OSError: s3://whole/of/them/: Generic S3 error: Error performing " in away[1]
    assert (seen, done) == ({}, (DELIVERED, None, LINES))
    expected = {f"of/them/{batch.id}/results.jsonl": await in_input_order(bench.blobs, batch)}
    assert buckets.objects("whole") == expected

    there.with_name("well").touch()

    assert await replayed(bench) == (DELIVERED, None, LINES)
    assert buckets.objects("whole") == expected


async def away_meanwhile(buckets, there, bench):
    """Attempt it while the server stops in the middle; start that again."""
    attempt = asyncio.ensure_future(attempted(bench))
    await until(there.exists)
    buckets.stop()
    there.unlink()
    ended = await attempt
    buckets.start()
    return ended


async def in_input_order(blobs, batch):
    """Return the lines of both result files."""
    content = b""
    for file_id in (batch.output_file_id, batch.error_file_id):
        async for chunk in blobs.stream(file_key(file_id), chunk_bytes=1 << 20):
            content += chunk
    lines = content.splitlines(keepends=True)
    assert len(lines) == batch.counts.total
    return b"".join(sorted(lines, key=record_index))


def long_answer(index):
    return chat_answer(index) | {"long": f"{index}" * 20_000}


async def test_requests_become_another_object_and_refusals_are_told(
    make_handlers, buckets, monkeypatch
):
    """With keys of the environment. A bucket that is missing may be made, keys that are refused be mended."""
    buckets.client.create_bucket(Bucket="mine")
    keys = {f"AWS_{name.upper()}": value for name, value in KEYS.items()}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    both = {"endpoint": buckets.url, "region": "us-east-1"}
    sections = {
        "missing": {"handler": "s3", "url": "s3://missing", **both},
        "s3": {"url": "s3://mine", "requests": "true", **both},
    }
    bench = await make_handlers(sections=sections)
    batch = await bench.completed(3, failed=[1])

    await bench.round()

    found = {one.handler: one for one in await bench.deliveries()}
    assert (found["s3"].state, found["s3"].last_error) == (DELIVERED, None)
    objects = buckets.objects("mine")
    assert set(objects) == {f"{batch.id}/results.jsonl", f"{batch.id}/requests.jsonl"}
    requests = objects[f"{batch.id}/requests.jsonl"].splitlines()
    assert list(map(json.loads, requests)) == [chat_request(i) for i in range(3)]
    results = objects[f"{batch.id}/results.jsonl"].splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == ["c0", "c1", "c2"]
    assert found["missing"].state is PENDING
    why = "OSError: s3://missing: NoSuchBucket: The specified bucket does not exist"
    assert found["missing"].last_error == f"The handler failed: {why}"

    buckets.trust(all_keys=False)
    await bench.store.replay_delivery(found["s3"].number, now=int(bench.clock.now()))
    await bench.round()
    buckets.trust(all_keys=True)

    found = {one.handler: one for one in await bench.deliveries()}
    assert found["s3"].state is PENDING
    assert "OSError: s3://mine: InvalidAccessKeyId: The AWS Access Key" in found["s3"].last_error
    assert buckets.objects("mine") == objects


async def test_wrong_settings_of_s3_are_faults(tmp_path):
    """Each is named, and no key is told."""
    url = "s3://bucket/prefix"
    wrong = {
        "bucket": ({"url": "s3:///prefix"}, "'url' must be s3://bucket or s3://bucket/prefix, not"),
        "endpoint": ({"url": url, "endpoint": "minio:9000"}, "'endpoint' must be a URL such as"),
        "format": ({"url": url, "format": "csv"}, "Invalid enum value 'csv' - at `$.format`"),
        "half": ({"url": url, "secret_access_key": "hidden"}, "go together: set both or none"),
        "no-url": ({"region": "x"}, "Object missing required field `url`"),
        "other": ({"url": "https://bucket/prefix"}, "'url' must be s3://bucket or"),
        "unknown": ({"url": url, "bucket": "x"}, "Object contains unknown field `bucket`"),
    }
    sections = {name: {"handler": "s3", **given} for name, (given, _) in wrong.items()}

    found = await survey_of(tmp_path, sections=sections)

    assert (found.installed, len(found.faults)) == ([], len(wrong))
    for fault, (name, (_, words)) in zip(found.faults, wrong.items(), strict=True):
        assert fault.startswith(f"{name}: ")
        assert words in fault
        assert "hidden" not in fault
