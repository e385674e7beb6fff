"""A study's three panels as one JPEG, drawn by Pillow, for readers that show no SVG over an image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mmad.data.sheet import COLOURS
from mmad.report.pictures_boxes import Box, DrawnBox, Fate
from mmad.report.pictures_film import Film
from mmad.report.pictures_tags import HEIGHT, LETTERS, Tag, place_tags
from mmad.report.pictures_words import PanelView, straight

_GAP, _HEAD = 14, 34
_PAPER, _INK, _BLACK = "#ffffff", "#1d2025", "#000000"
#: Lengths of stroke and gap along a side; None is a line without gaps.
_DASHES: dict[Fate, tuple[int, int] | None] = {"false": (13, 8), "missed": (3, 7)}


def raster(film: Film, views: Sequence[PanelView]) -> bytes:
    """The panels side by side with their titles above them, as JPEG."""
    with Image.open(io.BytesIO(film.jpeg)) as stored:
        width, height = round(film.width), round(film.height)
        picture = stored.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (len(views) * (width + _GAP) - _GAP, height + _HEAD), _PAPER)
    draw = ImageDraw.Draw(page)
    for n, view in enumerate(views):
        left = n * (width + _GAP)
        draw.text((left, 5), _cut(straight(view.title), width), fill=_INK, font=_font(20))
        page.paste(_panel(picture, view), (left, _HEAD))
    buffer = io.BytesIO()
    page.save(buffer, format="JPEG", quality=85, optimize=True, progressive=True, subsampling=0)
    return buffer.getvalue()


def _panel(picture: Image.Image, view: PanelView) -> Image.Image:
    panel = picture.copy()
    draw = ImageDraw.Draw(panel)
    for drawn in view.boxes:
        _frame(draw, drawn.box, _BLACK, None, 4)
        _frame(draw, drawn.box, _colour(drawn), _DASHES.get(drawn.fate), 2)
    for tag, drawn in zip(place_tags(view.boxes, *panel.size), view.boxes, strict=True):
        _words(draw, tag, _colour(drawn))
    return panel


def _colour(drawn: DrawnBox) -> str:
    return COLOURS[(drawn.number - 1) % len(COLOURS)]


def _words(draw: ImageDraw.ImageDraw, tag: Tag, colour: str) -> None:
    draw.rectangle((tag.x, tag.y, tag.x + tag.width, tag.y + HEIGHT), fill=_BLACK)
    draw.text((tag.x + tag.width / 2, tag.y + HEIGHT / 2), tag.words, fill=colour, font=_font(LETTERS - 3), anchor="mm")


def _frame(draw: ImageDraw.ImageDraw, box: Box, colour: str, dashes: tuple[int, int] | None, wide: int) -> None:
    left, top, right, bottom = box
    for x in (left, right):
        for start, stop in _strokes(top, bottom, dashes):
            draw.line((x, start, x, stop), fill=colour, width=wide)
    for y in (top, bottom):
        for start, stop in _strokes(left, right, dashes):
            draw.line((start, y, stop, y), fill=colour, width=wide)


def _strokes(start: float, stop: float, dashes: tuple[int, int] | None) -> list[tuple[float, float]]:
    """Where strokes begin and end between two points."""
    if dashes is None:
        return [(start, stop)]
    stroke, step = dashes[0], sum(dashes)
    count = max(1, round((stop - start) / step))
    return [(start + n * step, min(stop, start + n * step + stroke)) for n in range(count) if start + n * step < stop]


def _cut(text: str, width: int) -> str:
    font = _font(20)
    while text and font.getlength(text) > width:
        text = f"{text[:-2]}…" if len(text) > 1 else ""
    return text


@lru_cache(maxsize=4)
def _font(size: float) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"), size)
