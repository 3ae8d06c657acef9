"""Writes what Dify's forms show from the catalogues of ``i18n/`` into the yaml files: ``make translations``.

Dify reads labels, help texts and placeholders from ``manifest.yaml``, ``provider/mem0ai.yaml`` and ``tools/*.yaml``, in
four languages side by side. Translators work with one catalogue per language: its section ``interface`` has each text
at the place it has in the yaml files. This command replaces the texts there and leaves every other byte alone,
comments too. A new text is written into the catalogues, and its key into the yaml file with ``{}`` behind it.

``llm_description`` and the descriptions of outputs are for models and have one language: English, in the yaml files.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from utils.messages import DEFAULT_LANGUAGE, LANGUAGES

ROOT: Final = Path(__file__).resolve().parent.parent

# The keys whose values are texts in four languages.
_TEXTS: Final = ("label", "description", "human", "help", "placeholder", "human_description")
# Names, JSON and numbers: said once, in the English catalogue, and the same in every language.
SAME_IN_ALL_LANGUAGES: Final = (
    "manifest.label",
    "provider.identity.label",
    "provider.credentials_for_provider.*_json_secret.placeholder",
    "provider.credentials_for_provider.state_db_url.placeholder",
    "provider.credentials_for_provider.max_concurrent_memory_operations.placeholder",
    "provider.credentials_for_provider.heartbeat_interval.placeholder",
    "provider.credentials_for_provider.checkpoint_ttl_days.placeholder",
    "provider.credentials_for_provider.log_level.options.*.label",
    "provider.credentials_for_provider.language.options.*.label",
)
_EVERY_TOOL: Final = "every_tool"
_LINE_WIDTH: Final = 110

type Catalogues = dict[str, dict[str, str]]


class Place(NamedTuple):
    """Where a yaml file has a text: its name in the catalogues, and the characters it takes up."""

    name: str
    begin: int
    end: int
    column: int


def same_in_all_languages(name: str) -> bool:
    """Whether the English catalogue alone has this text."""
    return any(fnmatch(name, pattern) for pattern in SAME_IN_ALL_LANGUAGES)


def catalogues() -> Catalogues:
    """By language, the texts of the section ``interface``, each under its dotted name."""
    read = {
        language: yaml.safe_load((ROOT / "i18n" / f"{language}.yaml").read_text(encoding="utf-8"))
        for language in LANGUAGES
    }
    return {language: dict(_flat(content["interface"], ())) for language, content in read.items()}


def _flat(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, (*path, str(key)))
    else:
        yield ".".join(path), str(node)


def text(name: str, language: str, known: Catalogues) -> str | None:
    """What stands at ``name`` in ``language``; None when the catalogue lacks it.

    A tool without a text of its own for a parameter has the one under ``every_tool``.
    """
    catalogue = known[DEFAULT_LANGUAGE if same_in_all_languages(name) else language]
    return catalogue.get(name, catalogue.get(_shared(name)))


def _shared(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{_EVERY_TOOL}.{rest.partition('.')[2]}" if first == "tools" else name


def files() -> list[Path]:
    """The files that hold texts for people."""
    return [ROOT / "manifest.yaml", ROOT / "provider/mem0ai.yaml", *sorted((ROOT / "tools").glob("*.yaml"))]


def root_name(path: Path) -> str:
    """What the names of a file's texts begin with: ``manifest``, ``provider`` or ``tools.<tool>``."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return f"tools.{rest[0]}" if folder == "tools" else folder


def places(source: str, name: str) -> list[Place]:
    """Every place of a yaml file's content that has a text for people; the names begin with ``name``."""
    node = yaml.compose(source, Loader=yaml.SafeLoader)
    return list(_places(node, name)) if node is not None else []


def _places(node: yaml.Node, name: str) -> Iterator[Place]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{name}.{key.value}"
            if key.value in _TEXTS and _is_text(value):
                yield Place(below, *_extent(value), key.start_mark.column + 2)
            else:
                yield from _places(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _places(item, f"{name}.{_name_of(item)}")


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and {key.value for key, _ in node.value} <= set(LANGUAGES)


def _extent(node: yaml.MappingNode) -> tuple[int, int]:
    """The lines of the four languages; a text that is new stands as ``{}`` behind its key."""
    if node.flow_style:
        return node.start_mark.index - 1, node.end_mark.index
    last = node.value[-1][1].end_mark
    end = last.index if last.column else last.index - 1  # a folded text ends with its line
    return node.start_mark.index - node.start_mark.column - 1, end


def _name_of(item: yaml.Node) -> str:
    """Parameters go by their ``name``, options by their ``value``."""
    if not isinstance(item, yaml.MappingNode):
        return ""
    entries = {key.value: str(value.value) for key, value in item.value}
    return entries.get("name", entries.get("value", ""))


def with_texts(source: str, name: str, known: Catalogues) -> str:
    """The content of a yaml file with the texts of the catalogues.

    Args:
        source: the content as it is.
        name: what the names of its texts begin with, see :func:`root_name`.
        known: the catalogues.

    Raises:
        KeyError: a catalogue lacks a text that stands in the file.
    """
    for place in reversed(places(source, name)):
        source = f"{source[: place.begin]}\n{_block(place, known)}{source[place.end :]}"
    return source


def _block(place: Place, known: Catalogues) -> str:
    lines = []
    for language in LANGUAGES:
        said = text(place.name, language, known)
        if said is None:
            raise KeyError(f"i18n/{language}.yaml has no interface text {place.name}")
        width = _LINE_WIDTH - place.column
        lines.append(yaml.safe_dump({language: said}, allow_unicode=True, width=width, sort_keys=False))
    return textwrap.indent("".join(lines), " " * place.column).rstrip("\n")


def main() -> None:
    """Write every file anew and name those that have changed."""
    known = catalogues()
    for path in files():
        source = path.read_text(encoding="utf-8")
        content = with_texts(source, root_name(path), known)
        if content != source:
            path.write_text(content, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)} has the texts of i18n/ now\n")


if __name__ == "__main__":
    main()
