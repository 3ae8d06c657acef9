"""A process that recalls memories: started by ``test_concurrent_recalls``, with the state's DSN and what to recall.

Arguments: a libpq connection string, and JSON ``[[memory id, quality], …]``. Every few recalls are recorded.
"""

from __future__ import annotations

import asyncio
import json
import sys

from utils.config.state_location import PostgresLocation
from utils.memory.recall_log import RecallLog
from utils.state.engine import StateStore
from utils.stores.protocol import Row

_AT_ONCE = 7


async def main(conninfo: str, recalls: list[tuple[str, float]]) -> None:
    """Recall in the order given."""
    state = StateStore(PostgresLocation(conninfo))
    log = RecallLog(state, "store-1")
    for number, (memory_id, quality) in enumerate(recalls, 1):
        log.add("alice", [Row(memory_id, {}, quality)])
        if number % _AT_ONCE == 0:
            await log.flush()
    await log.close()
    await state.close()


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
