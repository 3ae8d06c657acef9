"""The tables of providers in CONFIG.md, made of what mem0's registries, the plugin's code and ``providers.yaml`` say.

``python -m playground.provider_matrix`` writes them between their two marks; a test fails as long as the file says
something else. Which providers there are says mem0; what is refused, which package is missing and what the wrapper of
a store makes up for says the code; the rest says ``providers.yaml``, next to this file.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from utils import messages
from utils.mem0 import registry
from utils.mem0.packages import package_of
from utils.mem0.refused import refusal_of
from utils.mem0.registry import FORM_NAMES, Kind
from utils.models.chat import has_json_mode
from utils.stores.mem0.adapter import UNLIMITED, StoreAdapter
from utils.stores.mem0.adapters import ADAPTERS

_ROOT: Final = Path(__file__).resolve().parent.parent
CONFIG: Final = _ROOT / "CONFIG.md"
BEGIN: Final = "<!-- providers: made by python -m playground.provider_matrix -->"
END: Final = "<!-- providers: end -->"
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_HEADINGS: Final[dict[Kind, str]] = {
    "llm": "LLMs",
    "embedder": "Embedders",
    "vector_store": "Stores",
    "graph": "Graphs",
    "reranker": "Rerankers",
}
_RUN: Final = {
    "here": "run here",
    "stand-in": "real client, stand-in server",
    "built": "built, no request made",
    "read": "read only",
}
# What ``mem0.collection`` does about an adapter's peculiarity.
_MADE_UP_FOR: Final = {
    "post_filters": "It cuts off before it looks at the user: searched again until the user's memories are found.",
    "merges": "Its updates keep what they should drop: removed.",
    "breaks_on_fences": "It cannot read a code fence back: stored so that it can.",
    "quiet_inserts": "It only logs a failed insert: looked for after each.",
    "hides_outages": "It answers an outage with nothing: asked whether it is alive.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One provider.

    Attributes:
        kind: the credential it belongs into.
        name: in mem0's registry.
        refusal: why it is refused; empty when it is not.
        package: what to install beside the plugin's own requirements; empty: nothing.
        guards: what the plugin makes up for.
        notes: what else to know.
        run: what the tests do with it, a key of ``providers.yaml``.
        block: the least its config needs; None for a refused one.
    """

    kind: Kind
    name: str
    refusal: str
    package: str
    guards: tuple[str, ...]
    notes: tuple[str, ...]
    run: str
    block: dict[str, Any] | None

    def cells(self) -> list[str]:
        """As the table shows it."""
        if self.refusal:
            return [f"`{self.name}`", "refused", "", self.refusal, _RUN[self.run]]
        works = " ".join(["works", *(["guarded"] if self.guards else [])])
        return [
            f"`{self.name}`",
            f"{works}, with {_versions(self.package)}" if self.package else f"{works} out of the box",
            " ".join(self.guards),
            " ".join(self.notes),
            _RUN[self.run],
        ]


def rows(kind: Kind) -> list[Row]:
    """Every provider of the kind; those that work first, the refused ones last."""
    found = [_row(kind, name) for name in sorted(registry.providers(kind))]
    return sorted(found, key=lambda row: (bool(row.refusal), bool(row.package), row.name))


@cache
def knowledge() -> dict[str, dict[str, Any]]:
    """``providers.yaml``."""
    read: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("providers.yaml").read_text("utf-8"))
    return read


def _row(kind: Kind, name: str) -> Row:
    known = knowledge()[kind].get(name, {})
    refusal = refusal_of(kind, name)
    block = known.get("block")
    guards, notes = _of_store(name) if kind == "vector_store" else ([], [])
    if kind == "llm" and not has_json_mode(name):
        guards.append("Without JSON mode: the answer is found in its text.")
    if "guard" in known:
        guards.append(known["guard"])
    if "note" in known:
        notes.append(known["note"])
    package = package_of(kind, name, block)
    needed = "" if _comes_with_plugin(package) else package
    shown = _sentence(refusal, name) if refusal else ""
    return Row(kind, name, shown, needed, tuple(guards), tuple(notes), known["run"], None if refusal else block)


def _of_store(name: str) -> tuple[list[str], list[str]]:
    """What the store's adapter makes up for, and what it says to its user."""
    adapter = ADAPTERS.get(name)
    if adapter is None:
        return [], []
    guards = [text for attribute, text in _MADE_UP_FOR.items() if getattr(adapter, attribute)]
    if adapter.packs != "nothing":
        guards.append("It keeps plain values only: others are kept as JSON.")
    if adapter.blocks:
        guards.append("Its client blocks: it has a thread of its own.")
    return guards, [inspect.cleandoc(adapter.__doc__ or "").partition("\n\n")[0].replace("\n", " "), *_limits(adapter)]


def _limits(adapter: type[StoreAdapter]) -> list[str]:
    limits = []
    if not adapter.lists:
        limits.append("`get_all_memories`, `delete_all_memories` and `forget_memories` are refused.")
    if adapter.search_cap < UNLIMITED:
        limits.append(f"A search sees {adapter.search_cap:,} rows at most.")
    if adapter.lists and adapter.list_cap < UNLIMITED:
        limits.append(f"A user may have {adapter.list_cap:,} memories.")
    if adapter.visible_after_s:
        limits.append(f"A change is seen after {adapter.visible_after_s:g} s.")
    if adapter.not_in_ids:
        limits.append(f"Ids must not hold {' '.join(f'`{char}`' for char in adapter.not_in_ids)}.")
    return limits


def _sentence(key: str, provider: str) -> str:
    """Why a provider is refused, as saving the credentials says it, without the place."""
    said = messages.render(key, "en_US", where="", provider=provider, known="…")
    return said.removeprefix(": ").replace(" Accepted: ….", "").replace("the provider", "The provider", 1)


@cache
def _own_packages() -> frozenset[str]:
    """Everything that ``requirements.txt`` brings, directly or with another package."""
    lines = (_ROOT / "requirements.txt").read_text("utf-8").splitlines()
    waiting = [name for line in lines if (name := _distribution(line))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform, or an extra's
            continue
        waiting += [_distribution(one) for one in required if "extra ==" not in one]
    return frozenset(found)


def _distribution(requirement: str) -> str:
    named = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", named[0]).lower() if named else ""


def _comes_with_plugin(package: str) -> bool:
    return all(_distribution(one) in _own_packages() for one in package.split())


def _versions(package: str) -> str:
    """The packages, each with the version it was tested in."""
    tested = knowledge()["tested"]
    return ", ".join(f"`{one}` {tested.get(one, '(not tried)')}".strip() for one in package.split())


def section() -> str:
    """What stands between the marks."""
    parts = []
    for kind in KINDS:
        of_kind = rows(kind)
        table = [["Provider", "", "Made up for", "To know", "Tested"], ["---"] * 5, *(row.cells() for row in of_kind)]
        lines = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        blocks = "\n".join(
            json.dumps({"provider": row.name, "config": row.block}, ensure_ascii=False)
            for row in of_kind
            if row.block is not None
        )
        title = f"### {_HEADINGS[kind]}\n\nCredential `{FORM_NAMES[kind]}`."
        parts.append(f"{title}\n\n{lines}\n\nA block for each, to be filled in:\n\n```json lines\n{blocks}\n```")
    return "\n\n".join(parts)


def written(document: str) -> str:
    """``document`` with today's section between the marks."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{section()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    CONFIG.write_text(written(CONFIG.read_text("utf-8")), "utf-8")
