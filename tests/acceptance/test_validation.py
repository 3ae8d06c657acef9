"""Saving credentials: what is said when something does not work, through the process, as Dify's console shows it."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from qdrant_client import QdrantClient, models

from playground.credentials import Endpoint, block, credential_set, pgvector_block, qdrant_block
from playground.dify_host import PluginProcess
from playground.postgres import Database, PostgresServer
from playground.stand_in_model import StandInModel
from tests.plugin import TRIES, Plugin
from utils import messages

LONGEST = 300  # characters of a sentence in Dify's toast
EASTERN = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
# Small words that stand in no name or setting: they show that a sentence, or a part of one, is in this language.
WORDS = {
    "en_US": {"the", "is", "of", "and", "to", "must", "with", "was", "not", "check", "this", "its", "has", "be"},
    "pt_BR": {"de", "do", "da", "que", "em", "para", "um", "uma", "é", "ou", "não", "deve", "confira"},
}
STORE, STATE = "local_vector_db_json_secret", "state_db_url"
LLM, EMBEDDER, RERANKER = "local_llm_json_secret", "local_embedder_json_secret", "local_reranker_json_secret"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginProcess]:
    """One process for the whole module: a refusal leaves nothing behind."""
    home = tmp_path_factory.mktemp("home")
    with PluginProcess({"HOME": str(home)}) as started:
        yield started


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, and nobody takes while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        yield port


@pytest.fixture
def refusal(process: PluginProcess) -> Callable[[dict[str, Any]], str]:
    """The sentence with which credentials are refused; it is looked at in all four languages."""

    def refuse(credentials: dict[str, Any]) -> str:
        said = {language: _refusal(process, {**credentials, "language": language}) for language in messages.LANGUAGES}
        assert len(set(said.values())) == len(said)
        for language, sentence in said.items():
            assert len(sentence) <= LONGEST, sentence
            assert _languages_in(sentence) == {language}, sentence
        return said["en_US"]

    return refuse


def _refusal(process: PluginProcess, credentials: dict[str, Any]) -> str:
    """The sentence. A part that is late, as the machine is busy, is let pass with a warning: then it is asked anew."""
    for _ in range(TRIES):
        said_before = len(process.logs)
        answer = process.validate(credentials)
        if not any("let pass" in line.message for line in list(process.logs)[said_before:]):
            break
    assert answer.error_type == "CredentialsValidateFailedError", (answer.error_type, answer.error)
    assert answer.error is not None
    assert "canary" not in process.raw_lines[-2] and "During handling" not in process.raw_lines[-2]
    return answer.error


def _languages_in(sentence: str) -> set[str]:
    words = set(re.findall(r"[^\W\d_]+", sentence.lower()))
    found = {language for language, telling in WORDS.items() if words & telling}
    if EASTERN.search(sentence):
        found.add("ja_JP" if re.search(r"[\u3040-\u30ff]", sentence) else "zh_Hans")
    return found


def with_store(endpoint: Endpoint, database: Database, **config: Any) -> dict[str, Any]:
    return credential_set(endpoint, pgvector_block(database, **config))


# --- PostgreSQL


def test_a_wrong_port(refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int) -> None:
    said = refusal(with_store(endpoint, replace(database, port=closed_port)))
    assert said.startswith(f"{STORE}: nothing listens at 127.0.0.1:{closed_port}: the connection was refused.")


def test_localhost_inside_a_container(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int
) -> None:
    said = refusal(with_store(endpoint, replace(database, host="localhost", port=closed_port)))
    assert f"localhost:{closed_port}" in said
    assert "Inside a container, localhost is the plugin itself: write the name of the service instead." in said


def test_a_wrong_host(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, host="database.invalid")))
    assert said.startswith(f"{STORE}: no host of the name database.invalid is known here.")


def test_a_wrong_password(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, password="canary")))
    address = f"127.0.0.1:{database.port}"
    assert said.startswith(f"{STORE}: the database server at {address} refused the password of the user postgres")


def test_an_unknown_user_is_told_like_a_wrong_password(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database
) -> None:
    said = refusal(with_store(endpoint, replace(database, user="mallory")))
    assert "refused the password of the user mallory" in said


def test_no_password(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    assert "and none is given" in refusal(with_store(endpoint, replace(database, password="")))


def test_a_wrong_database(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, dbname="memoirs")))
    assert said.startswith(f"{STORE}: the server at 127.0.0.1:{database.port} has no database memoirs.")


def test_tls_that_the_server_does_not_offer(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database
) -> None:
    assert "offers no TLS, but sslmode is require" in refusal(with_store(endpoint, database, sslmode="require"))


def test_a_port_of_something_else(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, other_server: int
) -> None:
    said = refusal(with_store(endpoint, replace(database, port=other_server)))
    assert f"what answers at 127.0.0.1:{other_server} is no PostgreSQL server" in said


@pytest.fixture
def other_server() -> Iterator[int]:
    """A server that hangs up on whoever does not speak its protocol."""

    class Refuse(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def guest(postgres_server: PostgresServer, database: Database) -> Iterator[Database]:
    """A user without any rights in the test's database."""
    name = f"guest_{database.dbname}"
    with psycopg.connect(postgres_server.database().uri, autocommit=True) as session:
        session.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'guest'").format(sql.Identifier(name)))
        yield replace(database, user=name, password="guest")
        session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_extension_is_missing(refusal: Callable[..., str], endpoint: Endpoint, guest: Database) -> None:
    said = refusal(with_store(endpoint, guest))
    assert said.startswith(f"{STORE}: The database has no pgvector extension, and this user may not create it")
    assert "CREATE EXTENSION vector" in said


def test_a_user_without_the_right_to_make_the_state(
    refusal: Callable[..., str], endpoint: Endpoint, guest: Database, tmp_path: Path
) -> None:
    credentials = credential_set(endpoint, qdrant_block(tmp_path / "qdrant"), state_db_url=guest.uri)
    assert "may not make or use the schema mem0_dify" in refusal(credentials)


def test_a_user_who_may_not_enter(
    refusal: Callable[..., str], endpoint: Endpoint, guest: Database, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(postgres_server.database().uri, autocommit=True) as session:
        session.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(sql.Identifier(guest.dbname)))
    said = refusal(with_store(endpoint, guest))
    assert f"does not let the user {guest.user} into the database {guest.dbname}" in said


def test_the_state_store_is_named_where_it_is_another_database(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int
) -> None:
    elsewhere = replace(database, port=closed_port).uri
    said = refusal({**with_store(endpoint, database), STATE: elsewhere})
    assert said.startswith(f"{STATE}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_state_file_that_cannot_be_made(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal({**with_store(endpoint, database), STATE: "/dev/null/state.db"})
    assert said.startswith(f"{STATE}: the SQLite file of the plugin's state cannot be opened or written")


def test_a_vector_store_that_is_no_postgresql(
    refusal: Callable[..., str], endpoint: Endpoint, closed_port: int
) -> None:
    said = refusal(credential_set(endpoint, block("qdrant", host="127.0.0.1", port=closed_port)))
    assert said.startswith(f"{STORE}: nothing listens at 127.0.0.1:{closed_port}")


# --- models


def dead(port: int) -> dict[str, Any]:
    config = {"model": "m", "api_key": "canary", "openai_base_url": f"http://127.0.0.1:{port}/v1"}
    return {"provider": "openai", "config": config}


@pytest.mark.parametrize("name", [LLM, EMBEDDER])
def test_a_dead_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int, name: str
) -> None:
    said = refusal({**pgvector_credentials, name: json.dumps(dead(closed_port))})
    assert said.startswith(f"{name}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_dead_reranker(refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int) -> None:
    reranker = block("llm_reranker", llm=dead(closed_port))
    said = refusal({**pgvector_credentials, RERANKER: reranker})
    assert said.startswith(f"{RERANKER}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_refused_key(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(unauthorised=True)
    said = refusal(pgvector_credentials)
    assert said.startswith(f"{LLM}: the service refused the credentials (AuthenticationError, HTTP 401")


def test_a_broken_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["500"], failing_endpoints=["embeddings"])
    said = refusal(pgvector_credentials)
    assert said.startswith(f"{EMBEDDER}: the service cannot be used at the moment (InternalServerError, HTTP 500)")


def test_an_address_that_is_no_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], other_server: int
) -> None:
    said = refusal({**pgvector_credentials, LLM: json.dumps(dead(other_server))})
    assert said.startswith(f"{LLM}: the service rejected a small request (BadRequestError, HTTP 400)")


def test_dimensions_that_do_not_fit_the_table(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], database: Database
) -> None:
    with psycopg.connect(database.uri) as session:
        session.execute("CREATE EXTENSION vector")
        session.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(5), payload jsonb)")
    said = refusal({**pgvector_credentials, STORE: pgvector_block(database, embedding_model_dims=256)})
    assert said.startswith(f"{STORE}: The embedder makes vectors of 256 dimensions")


def test_dimensions_that_do_not_fit_the_collection_of_another_store(
    refusal: Callable[..., str], endpoint: Endpoint, tmp_path: Path
) -> None:
    """The collection is there already, so opening it fails nowhere: only its length tells."""
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    client.create_collection("mem0", models.VectorParams(size=5, distance=models.Distance.COSINE, on_disk=True))
    client.close()
    said = refusal(credential_set(endpoint, qdrant_block(tmp_path / "qdrant")))
    assert said.startswith(f"{STORE}: The embedder makes vectors of 256 dimensions")


def test_dimensions_that_the_embedder_does_not_make_leave_no_table_behind(
    process: PluginProcess, endpoint: Endpoint, database: Database
) -> None:
    credentials = credential_set(endpoint, pgvector_block(database, dimensions=64))
    embedder = json.loads(credentials[EMBEDDER])
    embedder["provider"], embedder["config"]["embedding_dims"] = "lmstudio", 64
    embedder["config"]["lmstudio_base_url"] = embedder["config"].pop("openai_base_url")
    said = _refusal(process, {**credentials, EMBEDDER: json.dumps(embedder)})
    assert said.startswith(f"{EMBEDDER}: The embedder returned vectors of")
    with psycopg.connect(database.uri) as session:
        assert session.execute("SELECT to_regclass('mem0')").fetchone() == (None,)


# --- what is let pass, and what is left alone


@pytest.mark.parametrize(("endpoint_name", "credential"), [("chat", LLM), ("embeddings", EMBEDDER)])
def test_a_model_that_is_only_slow_is_let_pass(
    process: PluginProcess,
    pgvector_credentials: dict[str, Any],
    stand_in_model: StandInModel,
    endpoint_name: str,
    credential: str,
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["hang"], failing_endpoints=[endpoint_name])
    assert process.validate(pgvector_credentials).error is None
    process.wait_for_log(f"{credential}: no answer within .* let pass")


def test_a_model_that_has_too_much_to_do_is_let_pass(
    process: PluginProcess, pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["429"], failing_endpoints=["chat"], retry_after_s=0.1)
    assert process.validate(pgvector_credentials).error is None
    process.wait_for_log(f"{LLM}: the service was busy")


def test_every_part_that_is_filled_in_is_asked_once(
    process: PluginProcess, pgvector_credentials: dict[str, Any], endpoint: Endpoint, stand_in_model: StandInModel
) -> None:
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": endpoint.base_url}}
    stand_in_model.control.script({"0": 1.0}, {"0": 1.0})
    credentials = {**pgvector_credentials, RERANKER: block("llm_reranker", llm=llm)}
    assert process.validate(credentials).error is None
    counts = stand_in_model.control.counts
    assert (counts["chat"], counts["embedded_texts"]) == (2, 1)


def test_credentials_that_are_never_saved_carry_nothing_out(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    """A write waits for a worker that died; validating other credentials of the same store leaves it alone."""
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    first = Plugin(plugin_process(), pgvector_credentials)
    first.accept("alice", "I like tea.")
    first.process.kill()
    stand_in_model.control.set(held_endpoints=[])
    asked = stand_in_model.control.counts["chat"]
    trial = {**pgvector_credentials, LLM: json.dumps(_other_key(pgvector_credentials[LLM]))}
    second = plugin_process()
    assert second.validate(trial).error is None
    assert _refusal(second, {**trial, LLM: json.dumps(dead(1))})
    assert stand_in_model.control.counts["chat"] == asked + 1, "the completion of the check"
    plugin = Plugin(second, pgvector_credentials)
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea."]


def test_a_write_that_failed_waits_for_credentials_that_are_used(
    plugin_process: Callable[..., PluginProcess],
    pgvector_credentials: dict[str, Any],
    database: Database,
    stand_in_model: StandInModel,
) -> None:
    """Neither other credentials on trial nor its own take it up; the next call with its own does."""
    stand_in_model.control.set(unauthorised=True, verbatim=True)
    plugin = Plugin(plugin_process(), pgvector_credentials)
    plugin.accept("alice", "I like tea.")
    plugin.drain("alice")
    stand_in_model.control.set(unauthorised=False)
    before = _recorded_writes(database)
    trial = {**pgvector_credentials, LLM: json.dumps(_other_key(pgvector_credentials[LLM]))}
    for credentials in (trial, pgvector_credentials):
        assert plugin.process.validate(credentials).error is None
        assert _recorded_writes(database) == before
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea."]


def _recorded_writes(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.uri) as session:
        return session.execute("SELECT * FROM mem0_dify.writes").fetchall()


def _other_key(pasted: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(pasted)
    parsed["config"]["api_key"] = "another"
    return parsed


def test_a_folder_that_an_open_set_uses_can_be_validated(
    plugin_process: Callable[..., PluginProcess], qdrant_credentials: dict[str, Any]
) -> None:
    plugin = Plugin(plugin_process(), qdrant_credentials)
    plugin.call("add_memory", user_id="alice", user="I like tea.", infer=False)
    plugin.drain("alice")
    assert plugin.process.validate(qdrant_credentials).error is None
    changed = json.loads(qdrant_credentials[STORE])
    changed["config"] |= {"on_disk": False, "collection_name": "another"}
    assert plugin.process.validate({**qdrant_credentials, STORE: json.dumps(changed)}).error is None
    assert plugin.texts("alice") == ["I like tea."]


# --- settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_concurrent_memory_operations", "many", "must be a whole number from 1 to 10000"),
        ("heartbeat_interval", "5", "must be a whole number from 30 to 86400"),
        ("log_level", "LOUD", "must be one of INFO, DEBUG, WARNING, ERROR"),
        ("async_mode", "perhaps", "must be true or false"),
        ("memory_ttl_days", "soon", "must be a whole number from 1 to 36500"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_range(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], name: str, value: str, says: str
) -> None:
    said = refusal({**pgvector_credentials, name: value})
    assert said.startswith(name) and says in said


def test_a_setting_that_was_saved_before_is_replaced_with_a_warning(
    process: PluginProcess, pgvector_credentials: dict[str, Any]
) -> None:
    plugin = Plugin(process, {**pgvector_credentials, "heartbeat_interval": "5"})
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    process.wait_for_log("heartbeat_interval must be a whole number .* The default 120 is used.")
