"""The figures of ``benchmarks.recall_quality`` as a Markdown table, as JSON and as a drawing (SVG, by hand)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks.report import machine

_COLUMNS: Final = ("recall@5", "recall@10", "recall@20", "MRR")
_COLOURS: Final = {"plugin": "#1f6feb", "plugin, keyword_order off": "#9cc3ff", "mem0": "#b0b0b0"}
_DRAWN: Final = "recall@10"
_BAR, _GAP, _LEFT, _WIDTH = 12, 10, 240, 640  # pixels

type Figures = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]]


def write_report(model: str, figures: Figures, file: Path | None) -> None:
    """Print the table; with ``file`` write it beside the JSON and the drawing, too.

    Args:
        model: the embedding model.
        figures: by store, set, engine, group and name.
        file: without a suffix.
    """
    table = "\n".join(_table(model, figures))
    print(table)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".md").write_text(table + "\n")
        content: dict[str, Any] = {"model": model, "machine": machine(), "figures": figures}
        file.with_suffix(".json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        file.with_suffix(".svg").write_text("\n".join(_drawing(model, figures)) + "\n")


def _lines(figures: Figures) -> Iterator[tuple[str, str, str, str, Mapping[str, float]]]:
    for store, sets in figures.items():
        for name, engines in sets.items():
            for group in next(iter(engines.values())):
                for engine, groups in engines.items():
                    yield store, name, group, engine, groups[group]


def _table(model: str, figures: Figures) -> Iterator[str]:
    yield f"{model} · {machine()}\n"
    yield "| store | set | questions | engine | " + " | ".join(_COLUMNS) + " |"
    yield "|---" * (4 + len(_COLUMNS)) + "|"
    for store, name, group, engine, found in _lines(figures):
        cells = " | ".join(f"{found[column]:.3f}" for column in _COLUMNS)
        yield f"| {store} | {name} | {group} ({found['questions']:.0f}) | {engine} | {cells} |"


def _drawing(model: str, figures: Figures) -> Iterator[str]:
    """Bars of one figure, those of one group of questions together."""
    bars, y, last = [], 40, None
    for store, name, group, engine, found in _lines(figures):
        if (store, name, group) != last:
            last, y = (store, name, group), y + _GAP
            bars.append(_label(8, y + _BAR, f"{store}, {name}: {group}"))
        length = found[_DRAWN] * (_WIDTH - _LEFT - 50)
        colour = _COLOURS.get(engine, "#666")
        bars.append(f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR - 2}" fill="{colour}"/>')
        bars.append(_label(_LEFT + length + 4, y + _BAR - 3, f"{found[_DRAWN]:.2f}"))
        y += _BAR
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 20}" font-family="sans-serif">'
    yield '<rect width="100%" height="100%" fill="#fff"/>'
    yield _label(8, 18, f"{_DRAWN}, {model}")
    for place, (engine, colour) in enumerate(_COLOURS.items()):
        yield f'<rect x="{8 + place * 190}" y="26" width="10" height="10" fill="{colour}"/>'
        yield _label(22 + place * 190, 35, engine)
    yield from bars
    yield "</svg>"


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10">{escape(text)}</text>'
