"""What the fault tests share: a plugin whose process can be killed and replaced, on either kind of state store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from playground.dify_host import PluginProcess
from tests.faults.ledger import Ledger, PostgresLedger, SqliteLedger
from tests.plugin import Plugin


@dataclass(frozen=True, slots=True)
class Site[L: Ledger]:
    """Where plugin processes are started one after the other, or beside each other, over the same stores."""

    start_process: Callable[..., PluginProcess]
    credentials: dict[str, Any]
    ledger: L

    def start(self, **changed: Any) -> Plugin:
        """A new plugin process; ``changed`` replaces credentials by name."""
        return Plugin(self.start_process(), {**self.credentials, **changed})


@pytest.fixture
def postgres_site(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], database: Any
) -> Iterator[Site[PostgresLedger]]:
    """Memories and state in PostgreSQL."""
    with closing(PostgresLedger(database)) as ledger:
        yield Site(plugin_process, pgvector_credentials, ledger)


@pytest.fixture
def sqlite_site(
    plugin_process: Callable[..., PluginProcess], qdrant_credentials: dict[str, Any], state_folder: Path
) -> Site[SqliteLedger]:
    """Memories in embedded Qdrant, state in SQLite."""
    return Site(plugin_process, qdrant_credentials, SqliteLedger(state_folder))


@pytest.fixture(params=["postgres_site", "sqlite_site"])
def site(request: pytest.FixtureRequest) -> Site[Ledger]:
    """Either of the two."""
    found: Site[Ledger] = request.getfixturevalue(request.param)
    return found
