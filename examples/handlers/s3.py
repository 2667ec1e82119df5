"""Each answer as an object of its own. The built-in handler `s3` writes one object for a batch.

    my-s3:
      bucket: answers
      region: eu-central-1

It needs obstore, which `pip install 'batchline[handlers]'` brings. Keys come from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import obstore
from obstore.store import S3Store

from batchline.handlers import Context, EndedBatch, Results, register_handler


@register_handler
class MyS3:
    name = "my-s3"

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        return "bucket" in settings

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        store = S3Store(
            context.settings["bucket"],
            region=context.settings.get("region", "us-east-1"),
            endpoint=context.settings.get("endpoint"),  # of another S3 than Amazon's
            client_options={"allow_http": True},
        )
        async for result in results:
            if result.is_answered:
                key = f"{batch.id}/{result.index:08}.json"  # the same in a repeated attempt
                await obstore.put_async(store, key, result.raw)
            await context.checkpoint()  # a later attempt goes on behind it
