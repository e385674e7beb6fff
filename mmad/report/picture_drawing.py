"""The words and the drawing of a picture, the same for every form of report."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mmad.base.formatting import clip, decimal, plural, signed, straight
from mmad.data.contact_sheet import COLOURS
from mmad.report.pictures import AblationPictures, Box, BoxOutcome, PageImage, PairPictures, PanelBox, StudyPicture

TRUTH = "Ground truth"
_NAMED = 60
_OUTCOMES: dict[BoxOutcome, str] = {"right": "Right", "false": "False alarm", "missed": "Missed"}
_FROM_RIGHT = {"R", "AL", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI"}


@dataclass(frozen=True)
class Group:
    """Boxes of one finding with the same outcome: how many (``times``), and the scores of the boxes that have one."""

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
    """One of a study's three panels: its title, its arm, its boxes, and the boxes in words, grouped by outcome."""

    title: str
    arm: str  # reference, other, or nothing for the truth
    boxes: tuple[PanelBox, ...]
    groups: tuple[tuple[str, tuple[Group, ...]], ...]
    summary: str


def panels_of(picture: StudyPicture, pair: PairPictures) -> tuple[PanelView, ...]:
    """Ground truth, reference and other, from left to right."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    by: dict[BoxOutcome, str] = {
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


def _view(title: str, arm: str, boxes: tuple[PanelBox, ...], labels: Sequence[str]) -> PanelView:
    count = Counter(box.outcome for box in boxes)
    said = f"{count['right']} right, {plural(count['false'], 'false alarm')}, {count['missed']} missed"
    return PanelView(title, arm, boxes, _groups(boxes, _OUTCOMES, labels), said)


def _groups(
    boxes: Sequence[PanelBox], names: dict[BoxOutcome, str], labels: Sequence[str]
) -> tuple[tuple[str, tuple[Group, ...]], ...]:
    result = []
    for outcome, name in names.items():
        found: dict[int, list[PanelBox]] = {}
        for box in boxes:
            if box.outcome == outcome:
                found.setdefault(box.number, []).append(box)
        if found:
            result.append((name, tuple(_group(number, same, labels) for number, same in found.items())))
    return tuple(result)


def _group(number: int, boxes: Sequence[PanelBox], labels: Sequence[str]) -> Group:
    scores = tuple(decimal(box.score, 2) for box in boxes if box.score is not None)
    return Group(number, isolated(clip(labels[number - 1], 40)), len(boxes), scores)


def differs(picture: StudyPicture, pair: PairPictures) -> str:
    """What the arms found on the study: together, alone, not at all, and how often they were wrong."""
    reference, other = _arm(pair.reference), _arm(pair.other)
    names: dict[BoxOutcome, str] = {
        "both": "by both",
        "reference": f"by {reference} alone",
        "other": f"by {other} alone",
        "neither": "by neither",
    }
    by = Counter(box.outcome for box in picture.panels.truth)
    found = ", ".join(f"{by[outcome]} {words}" for outcome, words in names.items() if by[outcome])
    wrong = [sum(b.outcome == "false" for b in side) for side in (picture.panels.reference, picture.panels.other)]
    alarms = f"false alarms: {wrong[0]} of {reference}, {wrong[1]} of {other}"
    return f"{f'True boxes found: {found}' if by else 'No true box'}; {alarms}."


def net_hits_words(picture: StudyPicture, pair: PairPictures) -> str:
    """``+2 for CXR+Clinical``; with several seeds also the seed whose boxes are shown."""
    said = f"{signed(picture.net_hits, 0)} for {_arm(pair.other)}"
    if pair.seeds == 1:
        return said
    return f"{said} over {pair.seeds} seeds; boxes of seed {picture.seed} ({signed(picture.seed_net_hits, 0)})"


def ap_contribution_words(picture: StudyPicture, pair: PairPictures) -> str:
    """What the study contributes to the pair's difference in AP."""
    whole = signed(pair.ap_difference.all_boxes if pair.ap_difference is not None else float("nan"))
    without = signed(picture.ap_without)
    return f"Without this study the difference in test AP would be {without} instead of {whole}."


def drawn_and_counted(pair: PairPictures) -> str:
    """Why boxes and AP can disagree: AP counts weaker boxes too. Nothing where no study is shown."""
    if pair.ap_difference is None:
        return ""
    (a, b), (all_a, all_b) = pair.ap_difference.drawn, pair.ap_difference.total
    reference, other = _arm(pair.reference), _arm(pair.other)
    every, drawn = signed(pair.ap_difference.all_boxes), signed(pair.ap_difference.drawn_boxes)
    return (
        f"Drawn are boxes with a score of at least {pair.score:g}: {a:,} of {all_a:,} of {reference}, {b:,} of "
        f"{all_b:,} of {other}. AP counts them all: {other} differs by {every} test AP over all boxes, by {drawn} "
        "over those drawn."
    )


def box_words(box: PanelBox, pair: PairPictures) -> str:
    """``Atelectasis 0.81, false alarm``, for one box."""
    score = "" if box.score is None else f" {decimal(box.score, 2)}"
    outcome = f", {_OUTCOMES[box.outcome].lower()}" if box.outcome in _OUTCOMES else ""
    return straight(f"{clip(pair.labels[box.number - 1], 40)}{score}{outcome}")


def title_and_description(view: PanelView, picture: StudyPicture) -> tuple[str, str]:
    """(title, description) of a panel for screen readers, without marks that change the direction of the text."""
    groups = "; ".join(f"{name}: {', '.join(g.words for g in groups)}" for name, groups in view.groups)
    title = f"{view.title}, study {clip(picture.study, 80)}"
    return straight(title), straight(f"{view.summary}. {groups}")


def isolated(name: str) -> str:
    """``name``, isolated by direction marks where it is written from right to left."""
    turns = any(unicodedata.bidirectional(letter) in _FROM_RIGHT for letter in name)
    return f"\u2068{name}\u2069" if turns else name


def has_more_settings(found: AblationPictures) -> bool:
    """Whether the title of a pair must name its setting."""
    return len({pair.setting for pair in found.pairs}) > 1


# The tag of a box: its words at one of its corners, beside the tags of other boxes.

#: Height of a line of words and its letters' size, in units of a picture (its longer side is 512).
HEIGHT, LETTERS = 25.0, 19.0
_PER_LETTER, _AROUND = 10.6, 10.0
_STEPS = 12


@dataclass(frozen=True)
class Tag:
    """The words of a box and the rectangle around them."""

    words: str
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return HEIGHT


def tag_words(box: PanelBox) -> str:
    """``2 0.81``; ``2 0.44 false``; ``2 missed``; ``2`` for a true box."""
    parts = [str(box.number)]
    if box.score is not None:
        parts.append(f"{box.score:.2f}")
    if box.outcome in ("false", "missed"):
        parts.append(box.outcome)
    return " ".join(parts)


def place_tags(boxes: Sequence[PanelBox], width: float, height: float) -> tuple[Tag, ...]:
    """A tag for each box, inside the picture; tags overlap only where no free place is left nearby."""
    placed: list[Tag] = []
    for box in boxes:
        words = tag_words(box)
        wide = _AROUND + _PER_LETTER * len(words)
        places = [
            Tag(words, _within(x, width - wide), _within(y, height - HEIGHT), wide)
            for x, y in _candidates(box.corners, wide)
        ]
        placed.append(min(places, key=lambda tag: sum(_covered(tag, other) for other in placed)))
    return tuple(placed)


def _candidates(box: Box, wide: float) -> list[tuple[float, float]]:
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


# A study's three panels as one JPEG, drawn by Pillow, for Markdown viewers that show no SVG over an image.

_GAP, _HEAD = 14, 34
_PAPER, _INK, _BLACK = "#ffffff", "#1d2025", "#000000"
#: Lengths of stroke and gap along a side; None is a line without gaps.
_DASHES: dict[BoxOutcome, tuple[int, int] | None] = {"false": (13, 8), "missed": (3, 7)}


def raster(image: PageImage, views: Sequence[PanelView]) -> bytes:
    """The panels side by side with their titles above them, as JPEG."""
    with Image.open(io.BytesIO(image.jpeg)) as stored:
        width, height = round(image.width), round(image.height)
        picture = stored.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (len(views) * (width + _GAP) - _GAP, height + _HEAD), _PAPER)
    draw = ImageDraw.Draw(page)
    for n, view in enumerate(views):
        left = n * (width + _GAP)
        draw.text((left, 5), _cut(straight(view.title), width), fill=_INK, font=_font(20))
        page.paste(_panel(picture, view.boxes), (left, _HEAD))
    buffer = io.BytesIO()
    page.save(buffer, format="JPEG", quality=85, optimize=True, progressive=True, subsampling=0)
    return buffer.getvalue()


#: The longer side of an annotated picture, in pixels, and the height of a line below it.
_SIDE, _LINE = 768, 28


def annotated(grey: Image.Image, boxes: Sequence[PanelBox], labels: Sequence[str]) -> Image.Image:
    """One image with its boxes, in pixels of ``grey``, and below it their findings and scores in words."""
    scale = _SIDE / max(grey.size)
    width, height = (max(1, round(side * scale)) for side in grey.size)
    picture = grey.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    across, down = width / grey.width, height / grey.height
    drawn = [replace(b, corners=_scaled(b.corners, across, down)) for b in boxes]
    groups = [group for _, part in _groups(drawn, {"right": ""}, labels) for group in part]
    page = Image.new("RGB", (max(width, _SIDE // 2), height + _LINE * max(1, len(groups)) + _GAP), _PAPER)
    page.paste(_panel(picture, drawn), (0, 0))
    draw = ImageDraw.Draw(page)
    for n, group in enumerate(groups):
        top = height + _GAP // 2 + n * _LINE
        draw.rectangle((4, top + 3, 26, top + _LINE - 3), fill=_BLACK)
        colour = COLOURS[(group.number - 1) % len(COLOURS)]
        draw.text((15, top + _LINE / 2), str(group.number), fill=colour, font=_font(LETTERS - 3), anchor="mm")
        draw.text((34, top + 3), _cut(straight(group.words), page.width - 38), fill=_INK, font=_font(20))
    if not groups:
        draw.text((4, height + _GAP // 2), "no finding", fill=_INK, font=_font(20))
    return page


def _scaled(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _panel(picture: Image.Image, boxes: Sequence[PanelBox]) -> Image.Image:
    panel = picture.copy()
    draw = ImageDraw.Draw(panel)
    for box in boxes:
        _frame(draw, box.corners, _BLACK, None, 4)
        _frame(draw, box.corners, _colour(box), _DASHES.get(box.outcome), 2)
    for tag, box in zip(place_tags(boxes, *panel.size), boxes, strict=True):
        _words(draw, tag, _colour(box))
    return panel


def _colour(box: PanelBox) -> str:
    return COLOURS[(box.number - 1) % len(COLOURS)]


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
