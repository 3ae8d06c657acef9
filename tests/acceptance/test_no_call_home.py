"""Nothing but the configured hosts is asked for: a tour through all tools in a process whose every look-up and
connection is recorded, beneath all libraries, by Python's own audit events.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from playground.credentials import Endpoint, block, credential_set, pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils.extraction.request import range_before

ROOT = Path(__file__).resolve().parents[2]
RECORDER = ROOT / "tests" / "network_recorder"
TOOLS = {Path(path).stem for path in yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text("utf-8"))["tools"]}
EMBEDDED: dict[str, dict[str, Any]] = {
    "qdrant": {"path": "{folder}"},
    "chroma": {"path": "{folder}"},
    "faiss": {"path": "{folder}"},
    "milvus": {"url": "{folder}/milvus.db"},
}


@pytest.fixture
def recorded(tmp_path: Path) -> dict[str, str]:
    """The environment of a child whose network is recorded; ``asked(it)`` reads what was."""
    return {"PYTHONPATH": str(RECORDER), "NETWORK_RECORD": str(tmp_path / "network.jsonl")}


def asked(recorded: dict[str, str]) -> set[tuple[str, str]]:
    lines = Path(recorded["NETWORK_RECORD"]).read_text("utf-8").splitlines()
    return {(host, port) for host, port in map(json.loads, lines)}


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


class Tour:
    """Calls tools and keeps which."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.called: set[str] = set()

    def __call__(self, tool: str, **parameters: Any) -> dict[str, Any]:
        self.called.add(tool)
        answer = self._plugin.call(tool, **parameters)
        assert answer.status in ("SUCCESS", "ACCEPTED"), (tool, answer.envelope)
        return dict(answer.variables)

    def memories(self) -> None:
        """Every tool about memories, forgetting included."""
        self("add_memory", user_id="alice", user="I live in Lisbon.", assistant="Lovely!")
        found = self("search_memory", user_id="alice", query="Where do I live?", include_retention=True)["results"]
        of_it = {"memory_id": found[0]["id"], "user_id": "alice"}
        self("get_all_memories", user_id="alice")
        self("get_memory", **of_it)
        self("update_memory", **of_it, text="Alice lives in Porto.")
        self("get_memory_history", **of_it)
        self("forget_memories", user_id="alice", dry_run=True)
        self("forget_memories", user_id="alice")
        self("delete_memory", **of_it)
        self("delete_all_memories", user_id="alice")

    def extraction(self, dify: StandInDify) -> None:
        """The tools about extraction; counting tokens needs a vocabulary."""
        noon = range_before(date.today(), 1)[0] + 12 * 3600
        dify.history.converse("alice", noon, ("I like green tea. " * 50, "Noted."))
        app = {"app_id": "app", "dify_base_url": dify.base_url, "dify_api_key": dify.control.settings.accepted_key}
        task = self("extract_long_term_memory", user_ids="alice", **app)["task_id"]
        while (state := self("check_extraction_status", task_id=task))["task_status"] in ("queued", "running"):
            time.sleep(0.05)
        assert state["task_status"] == "completed" and state["processed_messages"] == 1, state
        self("get_user_checkpoint", user_id="alice")


@pytest.mark.parametrize(
    "places", [("pgvector", "chroma"), pytest.param(("pgvector", *EMBEDDED), marks=pytest.mark.long)], ids="+".join
)
def test_a_tour_of_all_tools_asks_nobody_but_the_configured_hosts(
    places: tuple[str, ...],
    plugin_process: Callable[..., PluginProcess],
    recorded: dict[str, str],
    endpoint: Endpoint,
    database: Database,
    dify: StandInDify,
    stand_in_model: StandInModel,
    tmp_path: Path,
) -> None:
    address = urlsplit(endpoint.base_url)
    llm = {"model": endpoint.model, "api_key": endpoint.api_key, "openai_base_url": endpoint.base_url}
    reranker = block("llm_reranker", llm={"provider": "openai", "config": llm})
    stores = {"pgvector": pgvector_block(database)}
    for name, config in EMBEDDED.items():
        (tmp_path / name).mkdir()
        dims = {} if name == "chroma" else {"embedding_model_dims": endpoint.dimensions}
        place = {key: value.format(folder=tmp_path / name) for key, value in config.items()}
        stores[name] = block(name, **place, **dims)
    # What would be found where telemetry could be switched on from outside, and models be fetched.
    process = plugin_process({**recorded, "MEM0_TELEMETRY": "True", "ANONYMIZED_TELEMETRY": "True"})
    called: set[str] = set()
    for name in places:
        credentials = credential_set(endpoint, stores[name], local_reranker_json_secret=reranker, async_mode="false")
        stand_in_model.control.script(*['{"0": 0.5}'] * 2)  # for the reranker, and the model that is asked beside it
        assert process.validate(credentials).error is None
        tour = Tour(Plugin(process, credentials))
        tour.memories()
        if name == "pgvector":
            tour.extraction(dify)
        called |= tour.called
    assert called == TOOLS
    hosts = {(host, port) for host, port in asked(recorded) if host != "None"}
    configured = {
        (str(address.hostname), str(address.port)),
        (database.host, str(database.port)),
        (str(urlsplit(dify.base_url).hostname), str(urlsplit(dify.base_url).port)),
    }
    assert hosts and hosts <= configured, hosts - configured
    assert (str(address.hostname), str(address.port)) in hosts


CALLS_HOME = {
    "us.i.posthog.com": "import mem0.memory.telemetry as t; t.client_telemetry.capture_event('mem0.init')",
    "raw.githubusercontent.com": "from mem0.memory import notices; notices._get_notice_config()",
}


@pytest.mark.parametrize("host", CALLS_HOME)
def test_a_call_home_would_be_seen(recorded: dict[str, str], host: str, tmp_path: Path) -> None:
    """What mem0 does where its telemetry is on, under the same recorder."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = {**direct, **recorded, "MEM0_TELEMETRY": "True", "MEM0_DIR": str(tmp_path)}
    # The hook sees the question; nobody need answer it, and the process must not wait for that at its end.
    code = f"{CALLS_HOME[host]}\nimport os, time\n" + (
        "record = os.environ['NETWORK_RECORD']\n"
        f"while {host!r} not in open(record).read(): time.sleep(0.05)\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=ROOT, timeout=120)
    assert host in {name for name, _ in asked(recorded)}
