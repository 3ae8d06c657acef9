"""What a search finds: recall and rank of the memories that answer a question, plugin process against mem0 itself.

``python -m benchmarks.recall_quality --embedder http://127.0.0.1:8000/v1 --model all-MiniLM-L6-v2 [--locomo FILE]``

Every memory of ``benchmarks.recall_set`` (and of a LoCoMo file, if one is given) is stored word for word through the
plugin's process, and every question asked of it, with and without keyword order. Then mem0's own ``AsyncMemory``
searches the very same collection. The embedder is any OpenAI-compatible service. mem0 knows no prefixes: where the
plugin puts some before its texts, mem0's questions go without.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import installation
from benchmarks.peer import Mem0Peer
from benchmarks.recall_report import write_report
from benchmarks.recall_set import Dialogue, locomo, own_set
from benchmarks.setting import expect
from playground.credentials import Endpoint, block, credential_set, pgvector_block, qdrant_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer
from playground.stand_in_model.process import StandInProcess

TOP_K: Final = 20
CUTS: Final = (5, 10, 20)
_IN_FLIGHT: Final = 8
_PATIENT_S: Final = 60
_VECTOR_STORE: Final = "local_vector_db_json_secret"
_EMBEDDER: Final = "local_embedder_json_secret"

type Found = dict[tuple[str, str], list[str]]  # by user and question: the memories' names in the set, best first
type Figures = dict[str, float]


class Searched:
    """Calls of a plugin process over a set of dialogues."""

    def __init__(self, process: PluginProcess, credentials: Mapping[str, Any]) -> None:
        self._process = process
        self._credentials = credentials

    def _call(self, tool: str, **parameters: Any) -> Any:
        asked = {"timeout": _PATIENT_S, **parameters}
        return expect(self._process.invoke(tool, asked, self._credentials), "SUCCESS").results

    def store(self, dialogues: Sequence[Dialogue]) -> None:
        """Store every memory as it is, with its name in the set; each user's one after the other."""
        for dialogue in dialogues:
            with ThreadPoolExecutor(_IN_FLIGHT) as pool:
                list(pool.map(lambda item, user=dialogue.user_id: self._add(user, *item), dialogue.memories.items()))

    def _add(self, user_id: str, name: str, text: str) -> None:
        self._call("add_memory", user_id=user_id, user=text, metadata={"name": name}, infer=False)

    def names(self, dialogues: Sequence[Dialogue]) -> dict[str, str]:
        """The memories' names in the set by their ids in the store."""
        listed = [
            memory
            for dialogue in dialogues
            for memory in self._call("get_all_memories", user_id=dialogue.user_id, limit=1000)
        ]
        return {memory["id"]: memory["metadata"]["name"] for memory in listed}

    def found(self, dialogues: Sequence[Dialogue]) -> Found:
        """What each question finds."""
        asked = [(dialogue.user_id, question.text) for dialogue in dialogues for question in dialogue.questions]
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            return dict(zip(asked, pool.map(lambda one: self._search(*one), asked), strict=True))

    def _search(self, user_id: str, query: str) -> list[str]:
        found = self._call("search_memory", user_id=user_id, query=query, top_k=TOP_K)
        return [memory["metadata"]["name"] for memory in found]


def scored(found: Found, dialogues: Sequence[Dialogue]) -> dict[str, Figures]:
    """Recall at each cut and the mean reciprocal rank, for all questions of a set and for each of its groups."""
    by_group: dict[str, list[Figures]] = defaultdict(list)
    for dialogue in dialogues:
        for question in dialogue.questions:
            figures = _figures(found[dialogue.user_id, question.text], question.answered_by)
            for group in ("all", *question.groups):
                by_group[group].append(figures)
    return {
        group: {name: statistics.fmean(one[name] for one in figures) for name in figures[0]}
        | {"questions": len(figures)}
        for group, figures in by_group.items()
    }


def _figures(found: Sequence[str], answers: Sequence[str]) -> Figures:
    ranks = [rank for rank, name in enumerate(found, 1) if name in answers]
    recall = {f"recall@{cut}": sum(rank <= cut for rank in ranks) / len(set(answers)) for cut in CUTS}
    return recall | {"MRR": 1 / ranks[0] if ranks else 0.0}


def measure(
    store: str, embedder: Mapping[str, Any], sets: Mapping[str, Sequence[Dialogue]]
) -> dict[str, dict[str, dict[str, Figures]]]:
    """Figures by set, engine and group on one kind of vector store.

    Args:
        store: ``pgvector`` or ``qdrant``, embedded.
        embedder: the ``config`` of the embedder's block.
        sets: what is stored and asked, by name.
    """
    everything = [dialogue for dialogues in sets.values() for dialogue in dialogues]
    with _folder() as folder, ExitStack() as stack:
        credentials = _credentials(store, embedder, folder, stack)
        with PluginProcess({"HOME": str(folder), **installation.environment()}) as process:
            plugin = Searched(process, credentials)
            plugin.store(everything)
            names = plugin.names(everything)
            engines = {"plugin": plugin.found(everything)}
            engines["plugin, keyword_order off"] = Searched(process, _without_words(credentials)).found(everything)
        engines["mem0"] = _found_by_mem0(credentials, folder, everything, names)  # an embedded folder admits one
    return {
        name: {engine: scored(found, dialogues) for engine, found in engines.items()}
        for name, dialogues in sets.items()
    }


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _credentials(store: str, embedder: Mapping[str, Any], folder: Path, stack: ExitStack) -> dict[str, Any]:
    """A synchronous credential set over a new store; the language model is the stand-in, and is not asked."""
    model = stack.enter_context(StandInProcess())
    if store == "qdrant":
        vectors = qdrant_block(folder / "qdrant", embedder["embedding_dims"])
    else:
        server = stack.enter_context(PostgresServer(folder / "postgres"))
        vectors = pgvector_block(server.create_database("recall"), embedder["embedding_dims"])
    credentials = credential_set(Endpoint(model.base_url), vectors)
    return {**credentials, _EMBEDDER: block("openai", **embedder), "async_mode": False}


def _without_words(credentials: Mapping[str, Any]) -> dict[str, Any]:
    store = json.loads(credentials[_VECTOR_STORE])
    store["config"]["keyword_order"] = False
    return {**credentials, _VECTOR_STORE: json.dumps(store)}


def _found_by_mem0(
    credentials: Mapping[str, Any], folder: Path, dialogues: Sequence[Dialogue], names: Mapping[str, str]
) -> Found:
    parts = {"llm": "local_llm_json_secret", "embedder": _EMBEDDER, "vector_store": _VECTOR_STORE}
    config = {part: json.loads(credentials[name]) for part, name in parts.items()}
    for prefix in ("query_prefix", "passage_prefix"):
        config["embedder"]["config"].pop(prefix, None)
    found: Found = {}
    with Mem0Peer(config, folder) as peer:
        for dialogue in dialogues:
            asked = [question.text for question in dialogue.questions]
            answers = peer.found(asked, dialogue.user_id, TOP_K)
            found |= {
                (dialogue.user_id, query): [names[each] for each in ids]
                for query, ids in zip(asked, answers, strict=True)
            }
    return found


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--embedder", required=True, metavar="URL", help="an OpenAI-compatible service, ends in /v1")
    parser.add_argument("--model", required=True, help="the embedding model there")
    parser.add_argument("--dims", type=int, default=384, help="the length of its vectors")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--query-prefix", help="else what is known of the model")
    parser.add_argument("--passage-prefix", help="else what is known of the model")
    parser.add_argument("--locomo", type=Path, metavar="FILE", help="a LoCoMo file to measure on, too")
    parser.add_argument("--stores", default="pgvector,qdrant", help="which stores, separated by commas")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write FILE.md, FILE.json and FILE.svg")
    options = parser.parse_args()
    embedder = {
        "model": options.model,
        "api_key": options.api_key,
        "openai_base_url": options.embedder,
        "embedding_dims": options.dims,
    }
    prefixes = {"query_prefix": options.query_prefix, "passage_prefix": options.passage_prefix}
    embedder |= {name: prefix for name, prefix in prefixes.items() if prefix is not None}
    sets = {"own set": own_set()} | ({} if options.locomo is None else {"LoCoMo": locomo(options.locomo)})
    figures = {store: measure(store, embedder, sets) for store in options.stores.split(",")}
    write_report(options.model, figures, options.report)


if __name__ == "__main__":
    main()
