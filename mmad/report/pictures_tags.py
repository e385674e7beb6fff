"""Where the words of a box stand in a picture: at its corner, beside the words of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmad.report.pictures_boxes import Box, DrawnBox

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
