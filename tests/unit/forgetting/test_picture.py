"""The picture of a dry run: what is in it, looked at pixel by pixel."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image, ImageColor

from utils.answer_size import BUDGET_BYTES
from utils.forgetting import picture
from utils.forgetting.preview import Kind

type Point = tuple[float, float]


def kinds(**points: list[Point]) -> dict[str, Kind]:
    """Memories by kind, each as (days left, retention)."""
    made = {}
    for name, all_of_them in points.items():
        made[name] = kind = Kind()
        for days, retention in all_of_them:
            kind.days_left.append(days)
            kind.retention.append(retention)
            kind.forgotten += days < 0
    return made


def drawn(memories: dict[str, Kind]) -> Image.Image:
    png = picture.draw(memories, "2026-11-24")
    assert png.startswith(b"\x89PNG") and len(png) < BUDGET_BYTES / 10
    return Image.open(io.BytesIO(png)).convert("RGBA")


def near(pixel: object, colour: str) -> bool:
    wanted = ImageColor.getrgb(colour)
    assert isinstance(pixel, tuple)
    return max(abs(is_ - should) for is_, should in zip(pixel, wanted, strict=False)) < 24


def share_of(image: Image.Image, colour: str, *, below: int = 200) -> int:
    """How many pixels of the plot have the colour."""
    colours = image.crop((0, below, picture.WIDTH, 520)).getcolors(picture.WIDTH * picture.HEIGHT) or []
    return sum(count for count, pixel in colours if near(pixel, colour))


@pytest.mark.parametrize("point", [(30.0, 0.5), (365.0, 0.9), (-30.0, 0.02), (7.0, 0.3)])
@pytest.mark.parametrize("name", picture.COLOURS)
def test_a_memory_is_a_dot_of_its_kinds_colour_at_its_place(name: str, point: Point) -> None:
    image = drawn(kinds(**{name: [point]}))
    assert near(image.getpixel((round(picture.x_of(point[0])), round(picture.y_of(point[1])))), picture.COLOURS[name])
    others = [colour for other, colour in picture.COLOURS.items() if other != name]
    assert [share_of(image, colour) for colour in others] == [0, 0, 0]


def test_a_pinned_memory_lies_beside_the_plot() -> None:
    image = drawn(kinds(semantic=[(float("inf"), 0.4)]))
    assert picture.x_of(float("inf")) > picture.x_of(100_000.0)
    place = (round(picture.x_of(float("inf"))), round(picture.y_of(0.4)))
    assert near(image.getpixel(place), picture.COLOURS["semantic"])


def test_time_runs_to_the_right_and_what_is_gone_lies_left_of_now() -> None:
    days = [-5000.0, -730.0, -30.0, -1.0, 0.0, 1.0, 30.0, 365.0, 3650.0, 5000.0]
    places = [picture.x_of(each) for each in days]
    assert places == sorted(places) and places[0] == places[1] and places[-1] == places[-2]
    image = drawn(kinds(semantic=[(30.0, 0.5)]))
    assert near(image.getpixel((round(picture.x_of(-20)), 400)), picture.FORGOTTEN_GROUND)


def test_it_has_a_ground_of_its_own_and_round_corners_for_light_and_dark_chats() -> None:
    image = drawn(kinds(semantic=[(30.0, 0.5)]))
    for corner in ((0, 0), (picture.WIDTH - 1, 0), (0, picture.HEIGHT - 1), (picture.WIDTH - 1, picture.HEIGHT - 1)):
        pixel = image.getpixel(corner)
        assert isinstance(pixel, tuple) and pixel[3] == 0
    assert near(image.getpixel((picture.WIDTH // 2, 12)), picture.GROUND)


def test_many_memories_are_no_blot() -> None:
    chance = random.Random(1)
    points = {name: [(chance.uniform(-300, 2000), chance.random()) for _ in range(500)] for name in picture.COLOURS}
    image = drawn(kinds(**points))
    shares = [share_of(image, colour) for colour in picture.COLOURS.values()]
    assert min(shares) > 3000 and share_of(image, picture.GROUND) > 50_000


def test_no_memories_are_a_picture_too() -> None:
    assert drawn({}).size == (picture.WIDTH, picture.HEIGHT)
