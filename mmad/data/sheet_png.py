"""A contact sheet as one PNG, drawn by Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mmad.data.sheet import SIDE, Box, Key, Progress, Sheet, Tile

_MARGIN, _GAP, _LINE, _PAD = 24, 16, 19, 8
_MOST_COLUMNS = 6
_PAPER, _CARD, _INK, _FAINT, _BLACK = "#16181c", "#22252b", "#f2f3f5", "#a9b0bb", "#000000"
Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class _Text:
    text: str
    size: int = 14
    colour: str = _INK
    bold: bool = False


def png_sheet(sheet: Sheet, progress: Progress | None = None) -> bytes:
    """The sheet as PNG: title and legend, below them the studies in up to six columns."""
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(sheet.positions))))
    width = 2 * _MARGIN + columns * SIDE + (columns - 1) * _GAP
    head = _head(sheet, width)
    rows = [_row(tiles, sheet.keys, columns) for tiles in _by(columns, sheet.tiles(progress))]
    height = head.height + sum(row.height + _GAP for row in rows) + _MARGIN
    page = Image.new("RGB", (width, height), _PAPER)
    page.paste(head, (0, 0))
    y = head.height
    for row in rows:
        page.paste(row, (_MARGIN, y))
        y += row.height + _GAP
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _by(columns: int, tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
    row: list[Tile] = []
    for tile in tiles:
        row.append(tile)
        if len(row) == columns:
            yield row
            row = []
    if row:
        yield row


def _head(sheet: Sheet, width: int) -> Image.Image:
    """Title and legend, as many lines as the labels need."""
    inner = width - 2 * _MARGIN
    places, x, y = [], 0, 40
    for key in sheet.keys:
        wide = 34 + math.ceil(_font(14, False).getlength(_legend(key))) + 20
        if x and x + wide > inner:
            x, y = 0, y + 26
        places.append((x, y))
        x += wide
    head = Image.new("RGB", (width, _MARGIN + y + 26 + _GAP), _PAPER)
    draw = ImageDraw.Draw(head)
    for line in _wrapped(sheet.title, 20, True, inner)[:1]:
        draw.text((_MARGIN, _MARGIN), line, fill=_INK, font=_font(20, True))
    for key, (x, y) in zip(sheet.keys, places, strict=True):
        left, top = _MARGIN + x, _MARGIN + y
        _rectangle(draw, (left, top + 2, left + 24, top + 16), key)
        draw.text((left + 32, top), _legend(key), fill=_INK, font=_font(14, False))
    return head


def _legend(key: Key) -> str:
    return f"{key.number} {key.label} ({key.boxes})"


def _row(tiles: list[Tile], keys: tuple[Key, ...], columns: int) -> Image.Image:
    captions = [_caption(tile) for tile in tiles]
    picture = max((tile.picture.height for tile in tiles if tile.picture is not None), default=SIDE // 2)
    text = max(len(lines) for lines in captions) * _LINE
    row = Image.new("RGB", (columns * SIDE + (columns - 1) * _GAP, picture + text + 2 * _PAD), _PAPER)
    for n, (tile, lines) in enumerate(zip(tiles, captions, strict=True)):
        card = Image.new("RGB", (SIDE, row.height), _CARD)
        draw = ImageDraw.Draw(card)
        draw.rectangle((0, 0, SIDE, picture - 1), fill=_BLACK)
        if tile.picture is not None:
            _draw_picture(card, tile, keys, picture)
        for i, line in enumerate(lines):
            font = _font(line.size, line.bold)
            draw.text((_PAD, picture + _PAD + i * _LINE), line.text, fill=line.colour, font=font)
        row.paste(card, (n * (SIDE + _GAP), 0))
    return row


def _draw_picture(card: Image.Image, tile: Tile, keys: tuple[Key, ...], height: int) -> None:
    if tile.picture is None:
        return
    left, top = (SIDE - tile.picture.width) // 2, (height - tile.picture.height) // 2
    card.paste(tile.picture.convert("RGB"), (left, top))
    draw = ImageDraw.Draw(card)
    for number, (xmin, ymin, xmax, ymax) in tile.boxes:
        key = keys[number - 1]
        _rectangle(draw, (left + xmin, top + ymin, left + xmax, top + ymax), key)
    for number, (xmin, ymin, _, _) in tile.boxes:
        x, y = left + xmin + 3, top + ymin + 2
        draw.text(
            (x, y), str(number), fill=keys[number - 1].colour, font=_font(14, True), stroke_width=2, stroke_fill=_BLACK
        )


def _rectangle(draw: ImageDraw.ImageDraw, box: Box, key: Key) -> None:
    """A frame on a dark border; of a dashed label every other piece is left out."""
    x0, y0, x1, y1 = (round(side) for side in box)
    x1, y1 = max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_BLACK, width=1)
    draw.rectangle((x0, y0, x1, y1), outline=key.colour, width=2)
    if key.dashed:
        for x in range(x0 + 8, x1 - 4, 16):
            draw.rectangle((x, y0, min(x + 6, x1), y0 + 1), fill=_BLACK)
            draw.rectangle((x, y1 - 1, min(x + 6, x1), y1), fill=_BLACK)
        for y in range(y0 + 8, y1 - 4, 16):
            draw.rectangle((x0, y, x0 + 1, min(y + 6, y1)), fill=_BLACK)
            draw.rectangle((x1 - 1, y, x1, min(y + 6, y1)), fill=_BLACK)


def _caption(tile: Tile) -> list[_Text]:
    """The lines below a picture."""
    width = SIDE - 2 * _PAD
    about = " · ".join(part for part in (tile.split, f"patient {tile.patient}", tile.source) if part)
    readings = ", ".join(f"{name or 'unnamed'} ({count})" for name, count in tile.readings)
    values = "   ".join(f"{name} {value}" for name, value in tile.values)
    lines = [_Text(line, 15, bold=True) for line in _wrapped(tile.study, 15, True, width)[:1]]
    if tile.note:
        lines += [_Text(line, colour="#ff9d7a") for line in _wrapped(tile.note, 14, False, width)[:3]]
    lines += [_Text(line, colour=_FAINT) for line in _wrapped(about, 14, False, width)[:2]]
    words = f"readings (boxes): {readings}" if readings else "no boxes"
    lines += [_Text(line, colour=_FAINT) for line in _wrapped(words, 14, False, width)[:2]]
    return lines + [_Text(line) for line in _wrapped(values, 14, False, width)[:8]]


def _wrapped(text: str, size: int, bold: bool, width: int) -> list[str]:
    """``text`` in lines that fit; a word that does not fit is cut."""
    font, lines, line = _font(size, bold), [], ""
    for word in text.split("   ") if "   " in text else text.split(" "):
        gap = "   " if "   " in text else " "
        longer = f"{line}{gap}{word}" if line else word
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        while font.getlength(longer) > width:
            longer = f"{longer[:-2]}…"
        line = longer
    return [*lines, line] if line else lines


@lru_cache(maxsize=8)
def _font(size: int, bold: bool) -> Font:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
