"""Uses autobatcher in its default mode against a server; a script of its own, in an environment of its own.

Usage: autobatcher_calls.py BASE_URL. Prints what came back, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from autobatcher import BatchOpenAI

MANY = 20


async def calls(url: str) -> Any:
    """As its README says: a drop-in for AsyncOpenAI, many calls at once."""
    key = os.environ["CLIENT_TEST_KEY"]
    async with BatchOpenAI(base_url=url, api_key=key, poll_interval_seconds=0.1) as client:
        chats = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": f"chat {number}"}]
                )
                for number in range(MANY)
            )
        )
        response = await client.responses.create(model="m", input="a response")
        try:
            await client.responses.create(model="m", input="REFUSE this")
        except Exception as exc:  # noqa: BLE001 - whatever it raises is what users see
            refused = str(exc)
        else:
            refused = "nothing was raised"
    return {
        "chats": [chat.choices[0].message.content for chat in chats],
        "tokens": [chat.usage.total_tokens for chat in chats],
        "response": [response.status, response.output_text],
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(calls(sys.argv[1]))))
