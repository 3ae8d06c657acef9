"""The database admits fewer connections than the plugin would make: everything is served with those there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.few_connections import limited_role
from tests.plugin import Plugin


@pytest.mark.parametrize("connections", [5, 16])
def test_reads_and_writes_under_a_role_with_few_connections(
    connections: int,
    database: Database,
    endpoint: Endpoint,
    stand_in_model: StandInModel,
    plugin_process: Callable[..., PluginProcess],
) -> None:
    stand_in_model.control.set(verbatim=True)
    with limited_role(database, connections) as limited:
        plugin = Plugin(plugin_process(), credential_set(endpoint, pgvector_block(limited)))
        plugin.accept("user-0", "first", infer=False)
        for round_ in range(6):
            reads = [plugin.submit("search_memory", user_id=f"user-{n % 5}", query="note") for n in range(30)]
            for number in range(8):
                plugin.accept(f"user-{number % 5}", f"note {round_} {number}", infer=False)
            assert [read.result().status for read in reads] == ["SUCCESS"] * 30
        users = [f"user-{number}" for number in range(5)]
        plugin.drain(*users)
        assert sum(len(plugin.texts(user)) for user in users) == 1 + 6 * 8
