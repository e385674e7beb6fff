"""Ellipses of one reading as boxes: the extremes of an ellipse are the sides of its box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.csv_columns import parse
from mmad.data.reflacx.counts import EllipseCounts
from mmad.data.reflacx.labels import columns_of
from mmad.data.reflacx.readings import Reading
from mmad.data.reflacx.tables import ENDINGS, Row, flag, is_blank, stream

Box = tuple[float, float, float, float]
SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Drawn:
    """One box in pixels of the stored image; ``certainty`` is 0 to 5 as text, empty if missing."""

    box: Box
    label: str
    certainty: str


def ellipse_file(reading: Reading) -> Path | None:
    """The file with the ellipses of ``reading``, or None where there is none."""
    files = (reading.folder / f"anomaly_location_ellipses{ending}" for ending in ENDINGS)
    return next((file for file in files if file.is_file()), None)


def is_lost(reading: Reading) -> bool:
    """Whether the ellipse file holds not even a header although findings are recorded. Raises DataError."""
    path = ellipse_file(reading)
    return path is not None and bool(reading.findings) and is_blank(path)


def read_ellipses(
    reading: Reading, size: tuple[int, int], labels: Sequence[str]
) -> tuple[tuple[Drawn, ...], EllipseCounts]:
    """The boxes of ``labels`` on the stored image of ``size`` (width, height), and what became of every row.

    An ellipse of several labels gives one box for each; two names that became one label give one. Boxes are scaled
    from the original's pixels to the stored image's, then clipped to it. Raises DataError for a cell that is no number.
    """
    path = ellipse_file(reading)
    if path is None or is_blank(path):
        return (), EllipseCounts()
    columns = columns_of(reading.phase, labels)
    of_column = [label for _, label in columns]
    drawn: list[Drawn] = []
    counts = EllipseCounts()
    seen: set[tuple[str, ...]] = set()
    for row in stream(path, (*SIDES, "certainty", *(name for name, _ in columns))):
        twice = row.cells in seen
        seen.add(row.cells)
        boxes, count = ((), EllipseCounts(1, duplicates=1)) if twice else _boxes(path, row, reading, size, of_column)
        drawn.extend(boxes)
        counts += count
    return tuple(drawn), counts


def _boxes(
    path: Path, row: Row, reading: Reading, size: tuple[int, int], of_column: Sequence[str]
) -> tuple[tuple[Drawn, ...], EllipseCounts]:
    at = f"{path}:{row.line}"
    true = [label for label, cell in zip(of_column, row.cells[5:], strict=True) if flag(cell, label, at)]
    found = tuple(dict.fromkeys(true))
    whole = _scaled(row.cells[:4], at, (reading.width, reading.height), size)
    box = _clipped(whole, size)
    if not found:
        return (), EllipseCounts(1, other_findings=1)
    if box is None:
        return (), EllipseCounts(1, no_area=1)
    sure = _certainty(row.cells[4], at)
    boxes = tuple(Drawn(box, label, sure) for label in found)
    return boxes, EllipseCounts(1, drawn=1, boxes=len(boxes), clipped=int(box != whole))


def _scaled(cells: Sequence[str], at: str, original: tuple[int, int], stored: tuple[int, int]) -> Box:
    numbers: list[float] = []
    for name, cell in zip(SIDES, cells, strict=True):
        number = parse(cell)
        if number is None:
            raise DataError(f"column {name!r} is not a number", where=at, mend="download the file again")
        numbers.append(number)
    across, down = stored[0] / original[0], stored[1] / original[1]
    return numbers[0] * across, numbers[1] * down, numbers[2] * across, numbers[3] * down


def _clipped(box: Box, size: tuple[int, int]) -> Box | None:
    """``box`` within the image, or None if nothing of it is left."""
    width, height = float(size[0]), float(size[1])
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height))
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


def _certainty(text: str, at: str) -> str:
    number = parse(text) if text else None
    if text and (number is None or not 0 <= number <= 5):
        raise DataError("column 'certainty' is not a number from 0 to 5", where=at, mend="download the file again")
    return "" if number is None else f"{number:g}"
