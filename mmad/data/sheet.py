"""A contact sheet of studies: the pictures with their boxes, ids, splits, readings and clinical values.

It holds clinical values, so it belongs where the data set is and nowhere else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import SPLITS
from mmad.data.cache import decode
from mmad.data.dataset import STUDIES, DataSet
from mmad.data.names import no_such, one_of

#: So many studies are shown where no number is asked for.
LIMIT = 24
#: After Okabe and Ito ("Color Universal Design", 2008): the colour-blind tell them apart; light enough for a film.
COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#00b383", "#e8590c", "#e48fc0", "#ffffff", "#5c7cfa")
#: The longer side of a picture in a sheet, in pixels.
SIDE = 480

Box = tuple[float, float, float, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Key:
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
    keys: tuple[Key, ...]
    dataset: DataSet
    positions: tuple[int, ...]

    def tiles(self, progress: Progress | None = None) -> Iterator[Tile]:
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
        raise DataError(no_such("split", split, SPLITS), where="--split", mend=one_of(SPLITS))
    if label is not None and label not in dataset.labels:
        raise DataError(no_such("label", label, dataset.labels), where="--label", mend=one_of(dataset.labels))
    if limit < 1:
        raise DataError(f"{limit} is out of range", where="--limit", mend="choose 1 or more")
    place = {study.study: i for i, study in enumerate(dataset.studies)}
    for name in studies:
        if name not in place:
            where = dataset.root / STUDIES
            raise DataError(no_such("study", name, place), where=where, mend="`studies.csv` lists them")
    fits = [place[name] for name in dict.fromkeys(studies)] if studies else list(range(len(dataset.studies)))
    if split is not None:
        fits = [i for i in fits if dataset.studies[i].split == split]
    if label is not None:
        having = set(dataset.box_study[dataset.labels_of == dataset.labels.index(label) + 1].tolist())
        fits = [i for i in fits if i in having]
    if not fits:
        raise DataError("no study fits", where=dataset.root, mend="ask for less: --split, --label")
    if len(fits) > limit and not studies:
        fits = [fits[i * len(fits) // limit] for i in range(limit)]
    return tuple(fits)


def keys(dataset: DataSet) -> tuple[Key, ...]:
    """The legend: every label of the data set with how often it is there."""
    count = np.bincount(dataset.labels_of, minlength=len(dataset.labels) + 1)
    return tuple(
        Key(n, label, COLOURS[(n - 1) % len(COLOURS)], (n - 1) // len(COLOURS) % 2 == 1, int(count[n]))
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
    told = []
    for column, value in zip(dataset.numeric, study.numeric, strict=True):
        unit = "" if re.fullmatch(r"[\d.]+\s*[-–]\s*[\d.]+", column.unit) else column.unit  # a scale, as in 0-10
        told.append((column.name, "–" if value is None else f"{value:g} {unit}".strip()))
    for category, word in zip(dataset.categorical, study.categorical, strict=True):
        told.append((category.name, word or "–"))
    return tuple(told)
