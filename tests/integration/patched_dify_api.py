"""Run by test_dify_api.py in a process patched like the plugin's: the client on the plugin's own background loop.

Arguments: base URL and key. Prints one line of JSON: how many conversations the user has, and how many messages each of
30 requests that were under way together found.
"""

from __future__ import annotations

import dify_plugin  # noqa: F401  isort: skip  # patches the process: before any other library

import asyncio
import json
import os
import sys

from utils.aio.loop import BackgroundLoop
from utils.extraction.dify_api import DifyApi


async def read(base_url: str, api_key: str) -> dict[str, object]:
    """One page of conversations, then 30 of messages at once: more than there are connections."""
    async with DifyApi(base_url.replace("127.0.0.1", "localhost"), api_key) as api:
        page = await api.conversations("ana")
        rows = page.rows if page else ()
        pages = await asyncio.gather(*(api.messages("ana", rows[0].id) for _ in range(30)))
        return {"conversations": len(rows), "messages": [len(one.rows) if one else 0 for one in pages]}


if __name__ == "__main__":
    print(json.dumps(BackgroundLoop().submit(read(*sys.argv[1:])).result(600)), flush=True)
    os._exit(0)  # the SDK's import leaves threads behind
