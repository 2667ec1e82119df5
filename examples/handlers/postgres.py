"""Answers as rows of your own table. The built-in handler `postgres` has a table with everything.

    my-postgres:
      url: postgresql://user:${PASSWORD}@localhost/reviews

It needs asyncpg, which `pip install 'batchline[handlers]'` brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from batchline.handlers import Context, EndedBatch, Results, register_handler

TABLE = """
    CREATE TABLE IF NOT EXISTS answers (
        batch_id text, custom_id text, answer text, PRIMARY KEY (batch_id, custom_id)
    )
"""
INSERT = "INSERT INTO answers VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


@register_handler
class MyPostgres:
    name = "my-postgres"

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        return "url" in settings

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        connection = await asyncpg.connect(context.settings["url"])
        try:
            await connection.execute(TABLE)
            async for chunk in results.chunks(500):
                rows = [(batch.id, one.custom_id, one.text) for one in chunk if one.is_answered]
                await connection.executemany(INSERT, rows)
                await context.checkpoint()  # a later attempt goes on behind these
        finally:
            await connection.close()
