"""Joins a table of clinical values to the images of a COCO file, by the kind of name that the table uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmad.base.errors import DataError
from mmad.data.coco_file import CocoImage
from mmad.data.csv_table import Table, read_table
from mmad.data.names import one_of, shown

#: What the values of the column may be, in the order in which they are tried.
KINDS: Mapping[str, Callable[[CocoImage], str]] = {
    "path of the image": lambda image: image.file_name,
    "file name": lambda image: PurePosixPath(image.file_name).name,
    "file name without its ending": lambda image: PurePosixPath(image.file_name).stem,
    "COCO image id": lambda image: str(image.identity),
}


@dataclass(frozen=True)
class Joined:
    """A table beside the images. ``rows`` holds, by image, the position of its row, or None.

    ``kind`` is a key of ``KINDS``; ``unmatched`` counts the table's rows that name none of the images.
    """

    table: Table
    kind: str
    rows: tuple[int | None, ...]
    unmatched: int

    @property
    def matched(self) -> int:
        """How many images have a row."""
        return sum(1 for row in self.rows if row is not None)

    def column(self, name: str) -> list[str]:
        """The cells of one column by image, empty for an image without a row. Raises DataError."""
        cells = self.table.column(name)
        return ["" if row is None else cells[row] for row in self.rows]


def join_table(path: Path, on: str | None, images: Sequence[CocoImage]) -> Joined:
    """The CSV file at ``path`` beside ``images``; its column ``on`` says of which image a row is.

    The kind of name that matches most rows is taken, the first of ``KINDS`` among equals; a kind that two
    images share a name in is not. Raises DataError where nothing matches and where two rows are of one image.
    """
    table = read_table(path)
    if on is None:
        raise DataError("no column is named to join it on", where=path, mend=f"--on: {one_of(table.columns)}")
    values = table.column(on)
    kind, places = max(_places(images).items(), key=lambda item: sum(1 for value in values if value in item[1]))
    rows: list[int | None] = [None] * len(images)
    for row, value in enumerate(values):
        place = places.get(value)
        if place is None:
            continue
        other = rows[place]
        if other is not None:
            what = f"image {shown(images[place].file_name)} has a row on line {table.lines[other]} too"
            raise DataError(what, where=table.at(row), mend="keep one row per image")
        rows[place] = row
    joined = Joined(table, kind, tuple(rows), sum(1 for value in values if value not in places))
    if not joined.matched:
        what = f"column {shown(on)} names none of the images"
        mend = "it may hold file names, with or without folder and ending, or COCO image ids"
        raise DataError(what, where=path, mend=mend)
    return joined


def _places(images: Sequence[CocoImage]) -> dict[str, dict[str, int]]:
    places = {}
    for kind, name in KINDS.items():
        names = [name(image) for image in images]
        if max(Counter(names).values()) == 1:
            places[kind] = {name: i for i, name in enumerate(names)}
    return places or {next(iter(KINDS)): {}}
