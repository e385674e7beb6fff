"""A contact sheet of studies: the pictures with their boxes, ids, splits, readings and clinical values.

It holds clinical values, so it belongs where the data set is and nowhere else.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.base.records import SPLITS, OnProgress
from mmad.config.messages import no_such, one_of
from mmad.data.dataset import STUDIES, Box, DataSet
from mmad.data.image_cache import decode

#: So many studies are shown where no number is asked for.
LIMIT = 24
#: After Okabe and Ito ("Color Universal Design", 2008): the colour-blind tell them apart; light enough for an X-ray.
COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#00b383", "#e8590c", "#e48fc0", "#ffffff", "#5c7cfa")
#: The longer side of a picture in a sheet, in pixels.
SIDE = 480


@dataclass(frozen=True)
class LabelKey:
    """A line of the legend. ``dashed`` tells apart labels that share a colour."""

    number: int
    label: str
    colour: str
    dashed: bool
    boxes: int


@dataclass(frozen=True)
class Tile:
    """One study as it is shown; ``boxes`` are (number of the label, box in pixels of ``picture``)."""

    study: str
    split: str
    patient: str
    source: str | None
    readings: tuple[tuple[str, int], ...]
    values: tuple[tuple[str, str], ...]
    boxes: tuple[tuple[int, Box], ...]
    picture: Image.Image | None
    note: str


@dataclass(frozen=True)
class Sheet:
    """What is shown: a title, the legend, and the tiles, which are decoded one by one as they are drawn."""

    title: str
    keys: tuple[LabelKey, ...]
    dataset: DataSet
    positions: tuple[int, ...]

    def tiles(self, progress: OnProgress | None = None) -> Iterator[Tile]:
        """The tiles in order; ``progress`` hears (done, all)."""
        for done, position in enumerate(self.positions, 1):
            yield _tile(self.dataset, position)
            if progress is not None:
                progress(done, len(self.positions))


def chosen(
    dataset: DataSet, studies: Sequence[str], split: str | None, label: str | None, limit: int
) -> tuple[int, ...]:
    """Positions of what is shown: those named, or evenly spread over what fits. Raises DataError."""
    if split is not None and split not in SPLITS:
        raise DataError(no_such("split", split, SPLITS), where="--split", hint=one_of(SPLITS))
    if label is not None and label not in dataset.labels:
        raise DataError(no_such("label", label, dataset.labels), where="--label", hint=one_of(dataset.labels))
    if limit < 1:
        raise DataError(f"{limit} is out of range", where="--limit", hint="choose 1 or more")
    place = {study.study: i for i, study in enumerate(dataset.studies)}
    for name in studies:
        if name not in place:
            where = dataset.root / STUDIES
            raise DataError(no_such("study", name, place), where=where, hint="`studies.csv` lists them")
    fits = [place[name] for name in dict.fromkeys(studies)] if studies else list(range(len(dataset.studies)))
    if split is not None:
        fits = [i for i in fits if dataset.studies[i].split == split]
    if label is not None:
        having = set(dataset.box_study[dataset.labels_of == dataset.labels.index(label) + 1].tolist())
        fits = [i for i in fits if i in having]
    if not fits:
        raise DataError("no study fits", where=dataset.root, hint="ask for less: --split, --label")
    if len(fits) > limit and not studies:
        fits = [fits[i * len(fits) // limit] for i in range(limit)]
    return tuple(fits)


def keys(dataset: DataSet) -> tuple[LabelKey, ...]:
    """The legend: every label of the data set with how often it is there."""
    count = np.bincount(dataset.labels_of, minlength=len(dataset.labels) + 1)
    return tuple(
        LabelKey(n, label, COLOURS[(n - 1) % len(COLOURS)], (n - 1) // len(COLOURS) % 2 == 1, int(count[n]))
        for n, label in enumerate(dataset.labels, 1)
    )


def title_of(dataset: DataSet, shown: int) -> str:
    return f"{dataset.name}: {shown} of {len(dataset.studies)} studies"


def _tile(dataset: DataSet, position: int) -> Tile:
    study = dataset.studies[position]
    here = np.flatnonzero(dataset.box_study == position)
    picture, note = None, ""
    try:
        picture = _fitted(decode(dataset, position))
    except DataError as error:
        note = error.what
    scale = picture.width / study.width if picture is not None else 0.0
    boxes = [(int(dataset.labels_of[i]), _scaled(dataset.boxes[i].tolist(), scale)) for i in here]
    return Tile(
        study=study.study,
        split=study.split,
        patient=study.patient,
        source=study.source,
        readings=tuple(Counter(dataset.reading[i] for i in here).items()),
        values=_values(dataset, position),
        boxes=tuple(boxes) if picture is not None else (),
        picture=picture,
        note=note,
    )


def _fitted(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BILINEAR)


def _scaled(box: Sequence[float], scale: float) -> Box:
    return box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale


def _values(dataset: DataSet, position: int) -> tuple[tuple[str, str], ...]:
    """(column, value with its unit), a dash where it is missing."""
    study = dataset.studies[position]
    values = []
    for column, value in zip(dataset.numeric, study.numeric, strict=True):
        unit = "" if re.fullmatch(r"[\d.]+\s*[-–]\s*[\d.]+", column.unit) else column.unit  # a scale, as in 0-10
        values.append((column.name, "–" if value is None else f"{value:g} {unit}".strip()))
    for category, word in zip(dataset.categorical, study.categorical, strict=True):
        values.append((category.name, word or "–"))
    return tuple(values)


# A contact sheet as one PNG, drawn by Pillow.


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


def png_sheet(sheet: Sheet, progress: OnProgress | None = None) -> bytes:
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


def _legend(key: LabelKey) -> str:
    return f"{key.number} {key.label} ({key.boxes})"


def _row(tiles: list[Tile], keys: tuple[LabelKey, ...], columns: int) -> Image.Image:
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


def _draw_picture(card: Image.Image, tile: Tile, keys: tuple[LabelKey, ...], height: int) -> None:
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


def _rectangle(draw: ImageDraw.ImageDraw, box: Box, key: LabelKey) -> None:
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


# A contact sheet as one HTML file: no network, no script, everything escaped.


@dataclass(frozen=True)
class _Card:
    """A tile with its picture as the text of an address."""

    tile: Tile
    picture: str


def html_sheet(sheet: Sheet, progress: OnProgress | None = None) -> bytes:
    """The sheet as UTF-8 HTML. Boxes are drawn above the pictures, so that they can be switched off."""
    cards = [_Card(tile, _address(tile.picture)) for tile in sheet.tiles(progress)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = (files("mmad.data") / "templates" / "sheet.html").read_text("utf-8")
    by_number: dict[int, LabelKey] = {key.number: key for key in sheet.keys}
    page = environment.from_string(template).render(title=sheet.title, keys=sheet.keys, cards=cards, of=by_number)
    return page.encode("utf-8", "replace")


def _address(picture: Image.Image | None) -> str:
    if picture is None:
        return ""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# Contact sheets as files: PNG or HTML, by the ending of the name.


def write_sheet(
    dataset: DataSet,
    out: Path | str,
    *,
    studies: Sequence[str] = (),
    split: str | None = None,
    label: str | None = None,
    limit: int = LIMIT,
    progress: OnProgress | None = None,
) -> Sheet:
    """Draw ``studies``, or at most ``limit`` spread over those of ``split`` and ``label``, into ``out``.

    ``out`` ends with ``.png`` or ``.html``; one that is there is replaced. A picture that cannot be decoded is
    shown as such. Raises DataError for an unknown study, split or label, for nothing to show, and for a file
    that cannot be written or lies in the data set's folder.
    """
    out = Path(out)
    forms = {".png": png_sheet, ".html": html_sheet}
    if out.suffix.casefold() not in forms:
        raise DataError("is neither .png nor .html", where=out, hint="name the file so that its ending says the form")
    if out.resolve().is_relative_to(dataset.root.resolve()):
        raise DataError("lies in the data set's own folder", where=out, hint="write the sheet somewhere else")
    positions = chosen(dataset, studies, split, label, limit)
    sheet = Sheet(title_of(dataset, len(positions)), keys(dataset), dataset, positions)
    content = forms[out.suffix.casefold()](sheet, progress)
    try:
        write_atomically(out, content)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", where=out, hint="name another file") from None
    return sheet
