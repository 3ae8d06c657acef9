"""A picture of what is left of a user's memories, and when each will be forgotten: a PNG for a chat bubble.

Each memory is a dot: to the right by the days until it crosses the threshold, upwards by its retention now, in the
colour of its kind. What lies left of "now" is forgotten. Dots that would cover each other become one larger dot, so
ten memories and a hundred thousand are equally readable. The picture has a ground of its own, so it looks the same in
a light and a dark chat; labels are digits and Latin, which is what the font inside Pillow has. Drawing blocks: run it
off the loop.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

from utils.forgetting.curve import FORGOTTEN_BELOW

if TYPE_CHECKING:
    from utils.forgetting.preview import Kind

WIDTH: Final = 960  # pixels: twice the width of a chat bubble
HEIGHT: Final = 640
_OVERSAMPLED: Final = 2  # drawn larger and made smaller: Pillow's own edges are jagged
# Four colours that people who see no red or no green tell apart (Okabe and Ito, 2008).
COLOURS: Final[Mapping[str, str]] = {
    "semantic": "#0072b2",
    "episodic": "#e69f00",
    "procedural": "#009e73",
    "other": "#a0568a",
}
GROUND: Final = "#ffffff"
_INK: Final = "#24292f"
_FAINT_INK: Final = "#57606a"
_GRID: Final = "#dde1e6"
_BORDER: Final = "#b6bec8"
FORGOTTEN_GROUND: Final = "#fdecea"
_THRESHOLD: Final = "#c62828"
# The plot's edges.
_LEFT, _RIGHT, _TOP, _BOTTOM = 104, 850, 180, 538
_PINNED_X: Final = 896  # beside the plot: what is pinned has no such day
_TICKS_DAYS: Final = (-365, -90, -30, -7, 0, 7, 30, 90, 365, 1825)
_FIRST_DAYS: Final = -730.0  # what is forgotten for longer, or will be later, is drawn at the edge
_LAST_DAYS: Final = 3650.0
_LINEAR_DAYS: Final = 5.0  # around now days are evenly spaced, further off by their logarithm
_CELL: Final = 10  # memories of a kind whose dots would lie in one square of so many pixels are one dot
_LEAST_RADIUS, _LARGEST_RADIUS = 4.0, 8.5


def draw(kinds: Mapping[str, Kind], day: str) -> bytes:
    """The picture as PNG.

    Args:
        kinds: the memories by kind (a key of :data:`COLOURS`).
        day: as of when; ISO 8601.
    """
    image = Image.new("RGBA", (WIDTH * _OVERSAMPLED, HEIGHT * _OVERSAMPLED))
    pen = _Pen(image)
    pen.card()
    _head(pen, kinds, day)
    _axes(pen)
    if any(math.isinf(days) for kind in kinds.values() for days in kind.days_left):
        pen.text(_PINNED_X, _BOTTOM + 12, "pinned", 24, _FAINT_INK, anchor="ma")
    dots = [(count, x, y, COLOURS[name]) for name, kind in kinds.items() for x, y, count in _dots(kind)]
    most = max((count for count, *_ in dots), default=1)
    for count, x, y, colour in sorted(dots, reverse=True):  # the smaller ones on top
        share = math.sqrt(count / most)  # the area stands for the number
        pen.dot(x, y, _LEAST_RADIUS + (_LARGEST_RADIUS - _LEAST_RADIUS) * share, colour)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    smooth = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    # With a palette a quarter of the bytes; the answer they are part of has a limit.
    smooth.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


def _head(pen: _Pen, kinds: Mapping[str, Kind], day: str) -> None:
    """Title, numbers and legend."""
    total = sum(len(kind.retention) for kind in kinds.values())
    forgotten = sum(kind.forgotten for kind in kinds.values())
    pen.text(40, 30, "Retention of each memory now", 34, _INK)
    pen.text(WIDTH - 40, 36, day, 26, _FAINT_INK, anchor="ra")
    pen.text(40, 76, f"{total:,} memories, {forgotten:,} forgotten", 28, _FAINT_INK)
    x = 40.0
    for name in (name for name in COLOURS if name in kinds):
        pen.dot(x + 9, 137, 9, COLOURS[name])
        x = pen.text(x + 26, 122, f"{name} {_short(len(kinds[name].retention))}", 26, _INK) + 30


def _axes(pen: _Pen) -> None:
    pen.box(_LEFT, _TOP, x_of(0), _BOTTOM, FORGOTTEN_GROUND)
    for percent in (0, 25, 50, 75, 100):
        y = y_of(percent / 100)
        pen.line(_LEFT, y, _RIGHT, y, _GRID)
        pen.text(_LEFT - 12, y, f"{percent}%", 24, _FAINT_INK, anchor="rm")
    for days in _TICKS_DAYS:
        pen.line(x_of(days), _TOP, x_of(days), _BOTTOM, _GRID)
        pen.text(x_of(days), _BOTTOM + 12, _tick(days), 24, _INK if days == 0 else _FAINT_INK, anchor="ma")
    pen.line(x_of(0), _TOP, x_of(0), _BOTTOM, _THRESHOLD, width=3)
    pen.dashes(_LEFT, _RIGHT, y_of(FORGOTTEN_BELOW), _THRESHOLD)
    pen.text(_LEFT + 12, _TOP + 8, "forgotten", 26, _THRESHOLD)
    pen.text(_RIGHT, y_of(FORGOTTEN_BELOW) - 6, f"threshold {FORGOTTEN_BELOW:.0%}", 24, _THRESHOLD, anchor="rd")
    pen.text((_LEFT + _RIGHT) / 2, _BOTTOM + 48, "days until forgotten", 26, _FAINT_INK, anchor="ma")


def _short(count: int) -> str:
    """A number that leaves the others of its line their place."""
    return f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"


def _tick(days: int) -> str:
    return "now" if days == 0 else f"{days:+,}"


def _dots(kind: Kind) -> Iterator[tuple[float, float, int]]:
    """Where the dots of one kind lie, and how many memories each stands for."""
    cells = Counter(
        (round(x_of(days) / _CELL), round(y_of(left) / _CELL))
        for days, left in zip(kind.days_left, kind.retention, strict=True)
    )
    for (column, row), count in cells.items():
        yield column * _CELL, row * _CELL, count


def x_of(days: float) -> float:
    """Where so many days until forgotten lie, in pixels; infinitely many are those of a pinned memory."""
    if math.isinf(days):
        return _PINNED_X
    span = _scaled(_LAST_DAYS) - _scaled(_FIRST_DAYS)
    return _LEFT + (_RIGHT - _LEFT) * (_scaled(days) - _scaled(_FIRST_DAYS)) / span


def _scaled(days: float) -> float:
    bounded = min(max(days, _FIRST_DAYS), _LAST_DAYS)
    scaled = math.copysign(math.log1p(abs(bounded) / _LINEAR_DAYS), bounded)
    return scaled if bounded > 0 else scaled * 0.55  # what is gone matters less than what will be


def y_of(retention: float) -> float:
    """Where a retention lies, in pixels."""
    return _BOTTOM - (_BOTTOM - _TOP) * retention


class _Pen:
    """Draws in pixels of the final picture."""

    def __init__(self, image: Image.Image) -> None:
        self._drawing = ImageDraw.Draw(image)

    def card(self) -> None:
        self._drawing.rounded_rectangle(
            self._scaled(1, 1, WIDTH - 2, HEIGHT - 2), 22 * _OVERSAMPLED, GROUND, _BORDER, 2 * _OVERSAMPLED
        )

    def text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "la") -> float:
        """Write ``text``; where it ends, from its beginning at ``x``."""
        font = ImageFont.load_default(size * _OVERSAMPLED)
        self._drawing.text((x * _OVERSAMPLED, y * _OVERSAMPLED), text, colour, font, anchor)
        return x + font.getlength(text) / _OVERSAMPLED

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 2) -> None:
        self._drawing.line(self._scaled(x1, y1, x2, y2), colour, width * _OVERSAMPLED)

    def dashes(self, x1: float, x2: float, y: float, colour: str) -> None:
        for x in range(round(x1), round(x2), 16):
            self.line(x, y, min(x + 9, x2), y, colour)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        self._drawing.rectangle(self._scaled(x1, y1, x2, y2), colour)

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle with an edge of the ground's colour, by which it stands out from others."""
        around = self._scaled(x - radius, y - radius, x + radius, y + radius)
        self._drawing.ellipse(around, colour, GROUND, _OVERSAMPLED)

    @staticmethod
    def _scaled(*pixels: float) -> tuple[float, ...]:
        return tuple(pixel * _OVERSAMPLED for pixel in pixels)
