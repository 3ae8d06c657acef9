"""Draws an exported Dify workflow: its nodes where Dify's canvas has them, their titles, and the edges between them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

_MARGIN: Final = 40
_MOST_WIDE_PX: Final = 1600
_SMOOTHING: Final = 2  # drawn larger and made smaller, so that lines are smooth
_HEAD: Final = 40  # height of the line with a node's title

_PAPER: Final = "#f2f4f7"
_CARD: Final = "#ffffff"
_FRAME: Final = "#d0d5dd"
_TEXT: Final = "#101828"
_FAINT: Final = "#667085"
_EDGE: Final = "#98a2b3"
_COLOURS: Final = {
    "start": "#296dff",
    "llm": "#6172f3",
    "answer": "#f79009",
    "end": "#f79009",
    "tool": "#17b26a",
    "if-else": "#06aed4",
    "loop": "#06aed4",
    "loop-start": "#06aed4",
    "code": "#2e90fa",
    "assigner": "#2e90fa",
}


def draw(app: Mapping[str, Any]) -> bytes:
    """A PNG picture of the app's workflow; its text ``Source`` says what was drawn (:func:`digest`)."""
    graph = app["workflow"]["graph"]
    boxes = {node["id"]: _box(node) for node in graph["nodes"]}
    left, top = (min(box[side] for box in boxes.values()) - _MARGIN for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes.values()) + _MARGIN for side in (2, 3))
    scale = min(1.0, _MOST_WIDE_PX / (right - left)) * _SMOOTHING
    size = (round((right - left) * scale), round((bottom - top) * scale))
    picture = Image.new("RGB", size, _PAPER)
    canvas = _Canvas(ImageDraw.Draw(picture), left, top, scale)
    containers = [node for node in graph["nodes"] if node["data"]["type"] == "loop"]
    for node in containers:
        canvas.node(node, boxes[node["id"]])
    for edge in graph["edges"]:
        branch = {"true": "yes", "false": "no"}.get(edge["sourceHandle"], "")
        canvas.edge(boxes[edge["source"]], boxes[edge["target"]], branch)
    for node in graph["nodes"]:
        if node not in containers:
            canvas.node(node, boxes[node["id"]])
    small = picture.resize((size[0] // _SMOOTHING, size[1] // _SMOOTHING), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    about = PngInfo()
    about.add_text("Source", digest(app))
    small.save(written, "PNG", optimize=True, pnginfo=about)
    return written.getvalue()


def digest(app: Mapping[str, Any]) -> str:
    """Changes with anything that a picture shows: bytes of pictures differ from one version of a font to the next."""
    nodes = [(_box(node), node["data"]["title"], _lines(node["data"])) for node in app["workflow"]["graph"]["nodes"]]
    edges = [(edge["source"], edge["sourceHandle"], edge["target"]) for edge in app["workflow"]["graph"]["edges"]]
    return hashlib.sha256(json.dumps([nodes, edges]).encode()).hexdigest()


type _Box = tuple[float, float, float, float]


def _box(node: Mapping[str, Any]) -> _Box:
    place = node["positionAbsolute"]
    return place["x"], place["y"], place["x"] + node["width"], place["y"] + node["height"]


class _Canvas:
    """Draws in the coordinates of Dify's canvas."""

    def __init__(self, draw: ImageDraw.ImageDraw, left: float, top: float, scale: float) -> None:
        self._draw = draw
        self._left, self._top, self._scale = left, top, scale

    def node(self, node: Mapping[str, Any], box: _Box) -> None:
        """A card with the node's title, its kind and what it calls."""
        data = node["data"]
        colour = _COLOURS.get(data["type"], _FAINT)
        self._draw.rounded_rectangle(self._px(box), self._length(12), fill=_CARD, outline=_FRAME, width=self._length(2))
        x, y = box[0] + 12, box[1] + 10
        if data["type"] == "loop-start":
            x, y = (box[0] + box[2]) / 2 - 11, (box[1] + box[3]) / 2 - 11
        self._draw.rounded_rectangle(self._px((x, y, x + 22, y + 22)), self._length(6), fill=colour)
        self._write(box[0] + 42, box[1] + 11, data["title"], 16, _TEXT)
        for number, line in enumerate(_lines(data)):
            self._write(box[0] + 14, box[1] + _HEAD + 4 + 21 * number, line, 13, _FAINT)

    def edge(self, source: _Box, target: _Box, said: str) -> None:
        """An arrow from the right side of one node to the left side of another."""
        begin = (source[2], source[1] + _HEAD / 2)
        end = (target[0], target[1] + _HEAD / 2)
        middle = (begin[0] + end[0]) / 2
        corners = [begin, (middle, begin[1]), (middle, end[1]), end]
        self._draw.line([self._point(x, y) for x, y in corners], fill=_EDGE, width=self._length(3), joint="curve")
        tip = [end, (end[0] - 9, end[1] - 6), (end[0] - 9, end[1] + 6)]
        self._draw.polygon([self._point(x, y) for x, y in tip], fill=_EDGE)
        if said:
            self._write(middle + 6, end[1] - 22, said, 14, _FAINT)

    def _write(self, x: float, y: float, text: str, height: float, colour: str) -> None:
        font = ImageFont.load_default(size=max(1, round(height * self._scale)))
        self._draw.text(self._point(x, y), text, font=font, fill=colour)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        return (x - self._left) * self._scale, (y - self._top) * self._scale

    def _px(self, box: _Box) -> tuple[float, float, float, float]:
        return (*self._point(box[0], box[1]), *self._point(box[2], box[3]))

    def _length(self, units: float) -> int:
        return max(1, round(units * self._scale))


def _lines(data: Mapping[str, Any]) -> list[str]:
    """What stands below a node's title."""
    match data["type"]:
        case "tool":
            return [data["tool_name"]]
        case "llm":
            return [data["model"]["name"]]
        case "start":
            return [variable["variable"] for variable in data["variables"]]
        case "end":
            return [output["variable"] for output in data["outputs"]]
        case "if-else":
            return _conditions(data["cases"][0]["conditions"])
        case "loop":
            return ["until " + " or ".join(_conditions(data["break_conditions"]))]
        case "answer":
            return [data["answer"]]
        case "assigner":
            return [".".join(item["variable_selector"]) for item in data["items"]]
        case _:
            return []


def _conditions(conditions: list[Mapping[str, Any]]) -> list[str]:
    return [f"{'.'.join(one['variable_selector'])} {one['comparison_operator']} {one['value']}" for one in conditions]
