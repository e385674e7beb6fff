"""What is said about a picture, for every form of report alike."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mmad.base.formatting import clip, decimal, plural, signed
from mmad.data.contact_sheet import COLOURS
from mmad.report.pictures import AblationPictures, Box, DrawnBox, Fate, Film, PairPictures, StudyPicture

TRUTH = "Ground truth"
_NAMED = 60
_FATES: dict[Fate, str] = {"right": "Right", "false": "False alarm", "missed": "Missed"}
_FROM_RIGHT = {"R", "AL", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI"}
#: Marks that change the direction of the text after them; nothing isolates a name in a tooltip.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@dataclass(frozen=True)
class Group:
    """Boxes of one finding that one thing became of: ``times`` of them, and the scores of those that have one."""

    number: int
    label: str
    times: int
    scores: tuple[str, ...]

    @property
    def words(self) -> str:
        """``Atelectasis 0.81, 0.44``, or ``Atelectasis × 2`` for boxes without scores."""
        times = f" × {self.times}" if self.times > 1 and not self.scores else ""
        return f"{self.label}{times} {', '.join(self.scores)}".rstrip()


@dataclass(frozen=True)
class PanelView:
    """One of a study's three panels: its title, whose it is, its boxes, and them in words by what became of them."""

    title: str
    arm: str  # reference, other, or nothing for the truth
    boxes: tuple[DrawnBox, ...]
    groups: tuple[tuple[str, tuple[Group, ...]], ...]
    summary: str


def panels_of(picture: StudyPicture, pair: PairPictures) -> tuple[PanelView, ...]:
    """Ground truth, reference and other, from left to right."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    by: dict[Fate, str] = {
        "both": "By both",
        "reference": f"Only by {reference}",
        "other": f"Only by {other}",
        "neither": "By neither",
    }
    truth = picture.panels.truth
    said = plural(len(truth), "true box", "true boxes")
    return (
        PanelView(TRUTH, "", truth, _groups(truth, by, pair.labels), said),
        _view(reference, "reference", picture.panels.reference, pair.labels),
        _view(other, "other", picture.panels.other, pair.labels),
    )


def _arm(name: str) -> str:
    return isolated(clip(name, _NAMED))


def _view(title: str, arm: str, boxes: tuple[DrawnBox, ...], labels: Sequence[str]) -> PanelView:
    count = Counter(drawn.fate for drawn in boxes)
    said = f"{count['right']} right, {plural(count['false'], 'false alarm')}, {count['missed']} missed"
    return PanelView(title, arm, boxes, _groups(boxes, _FATES, labels), said)


def _groups(
    boxes: Sequence[DrawnBox], names: dict[Fate, str], labels: Sequence[str]
) -> tuple[tuple[str, tuple[Group, ...]], ...]:
    told = []
    for fate, name in names.items():
        found: dict[int, list[DrawnBox]] = {}
        for drawn in boxes:
            if drawn.fate == fate:
                found.setdefault(drawn.number, []).append(drawn)
        if found:
            told.append((name, tuple(_group(number, same, labels) for number, same in found.items())))
    return tuple(told)


def _group(number: int, boxes: Sequence[DrawnBox], labels: Sequence[str]) -> Group:
    scores = tuple(decimal(drawn.score, 2) for drawn in boxes if drawn.score is not None)
    return Group(number, isolated(clip(labels[number - 1], 40)), len(boxes), scores)


def differs(picture: StudyPicture, pair: PairPictures) -> str:
    """What the arms found on the study: together, alone, not at all, and how often they were wrong."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    names: dict[Fate, str] = {
        "both": "by both",
        "reference": f"by {reference} alone",
        "other": f"by {other} alone",
        "neither": "by neither",
    }
    by = Counter(drawn.fate for drawn in picture.panels.truth)
    found = ", ".join(f"{by[fate]} {words}" for fate, words in names.items() if by[fate])
    wrong = [sum(b.fate == "false" for b in side) for side in (picture.panels.reference, picture.panels.other)]
    alarms = f"false alarms: {wrong[0]} of {reference}, {wrong[1]} of {other}"
    return f"{f'True boxes found: {found}' if by else 'No true box'}; {alarms}."


def gained(picture: StudyPicture, pair: PairPictures) -> str:
    """``+2 for CXR+Clinical``, and whose boxes are shown where there are several seeds."""
    said = f"{signed(picture.gain, 0)} for {_arm(pair.other)}"
    if pair.seeds == 1:
        return said
    return f"{said} over {pair.seeds} seeds; boxes of seed {picture.seed} ({signed(picture.seed_gain, 0)})"


def at_stake(picture: StudyPicture, pair: PairPictures) -> str:
    """What the study does to the pair's difference in AP."""
    whole = pair.stakes.all_boxes if pair.stakes is not None else float("nan")
    return (
        f"Without this study the difference in test AP would be {signed(picture.without)} instead of {signed(whole)}."
    )


def drawn_and_counted(pair: PairPictures) -> str:
    """Why boxes and AP can disagree: AP counts weaker boxes too. Nothing where no study is shown."""
    if pair.stakes is None:
        return ""
    (a, b), (all_a, all_b) = pair.stakes.drawn, pair.stakes.kept
    reference, other = _arm(pair.reference), _arm(pair.other)
    every, drawn = signed(pair.stakes.all_boxes), signed(pair.stakes.drawn_boxes)
    return (
        f"Drawn are boxes with a score of at least {pair.score:g}: {a:,} of {all_a:,} of {reference}, {b:,} of "
        f"{all_b:,} of {other}. AP counts them all: {other} differs by {every} test AP over all boxes, by {drawn} "
        "over those drawn."
    )


def labelled(drawn: DrawnBox, pair: PairPictures) -> str:
    """``Atelectasis 0.81, false alarm``, for one box."""
    score = "" if drawn.score is None else f" {decimal(drawn.score, 2)}"
    fate = f", {_FATES[drawn.fate].lower()}" if drawn.fate in _FATES else ""
    return straight(f"{clip(pair.labels[drawn.number - 1], 40)}{score}{fate}")


def told(view: PanelView, picture: StudyPicture) -> tuple[str, str]:
    """(title, description) of a panel for those who cannot see it, without marks that turn the text around."""
    groups = "; ".join(f"{name}: {', '.join(g.words for g in groups)}" for name, groups in view.groups)
    title = f"{view.title}, study {clip(picture.study, 80)}"
    return straight(title), straight(f"{view.summary}. {groups}")


def isolated(name: str) -> str:
    """``name``, between marks that keep it to itself where it runs from right to left."""
    turns = any(unicodedata.bidirectional(letter) in _FROM_RIGHT for letter in name)
    return f"\u2068{name}\u2069" if turns else name


def straight(text: str) -> str:
    """``text`` without the characters that change its direction."""
    return _TURNING.sub("", text)


def has_more_settings(found: AblationPictures) -> bool:
    """Whether a pair has to be named by its setting."""
    return len({pair.setting for pair in found.pairs}) > 1


# Where the words of a box stand in a picture: at its corner, beside the words of others.


#: Height of a line of words and its letters' size, in units of a picture (its longer side is 512).
HEIGHT, LETTERS = 25.0, 19.0
_PER_LETTER, _AROUND = 10.6, 10.0
_STEPS = 12


@dataclass(frozen=True)
class Tag:
    """The words of a box and the rectangle they stand in."""

    words: str
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return HEIGHT


def words_of(drawn: DrawnBox) -> str:
    """``2 0.81``; ``2 0.44 false``; ``2 missed``; ``2`` for a true box."""
    parts = [str(drawn.number)]
    if drawn.score is not None:
        parts.append(f"{drawn.score:.2f}")
    if drawn.fate in ("false", "missed"):
        parts.append(drawn.fate)
    return " ".join(parts)


def place_tags(boxes: Sequence[DrawnBox], width: float, height: float) -> tuple[Tag, ...]:
    """A tag for each box, inside the picture; they cover one another only where there is no room left near by."""
    placed: list[Tag] = []
    for drawn in boxes:
        words = words_of(drawn)
        wide = _AROUND + _PER_LETTER * len(words)
        places = [
            Tag(words, _within(x, width - wide), _within(y, height - HEIGHT), wide)
            for x, y in _corners(drawn.box, wide)
        ]
        placed.append(min(places, key=lambda tag: sum(_covered(tag, other) for other in placed)))
    return tuple(placed)


def _corners(box: Box, wide: float) -> list[tuple[float, float]]:
    """Above the box, below it, inside it; then further and further down and up along its left side."""
    left, top, right, bottom = box
    first = [(left, top - HEIGHT), (left, bottom), (left, top), (right - wide, top - HEIGHT), (right - wide, bottom)]
    return first + [(left, top + sign * n * HEIGHT) for n in range(1, _STEPS) for sign in (1, -1)]


def _within(value: float, most: float) -> float:
    return max(0.0, min(value, most))


def _covered(tag: Tag, other: Tag) -> float:
    wide = min(tag.x + tag.width, other.x + other.width) - max(tag.x, other.x)
    high = HEIGHT - abs(tag.y - other.y)
    return max(0.0, wide) * max(0.0, high)


# A study's three panels as one JPEG, drawn by Pillow, for readers that show no SVG over an image.


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
