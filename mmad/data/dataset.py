"""A data set: a folder of chest X-rays with boxes and clinical columns, read once and checked as a whole.

The folder holds ``dataset.toml`` (name, labels, clinical columns, licence), ``studies.csv`` (one row per
image), ``boxes.csv`` (one row per box) and the images. Everything but the images' pixels is checked here;
those are checked when they are decoded (``mmad.data.cache``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.base.records import ClinicalColumns, GroundTruth, Split
from mmad.data.names import no_such, one_of

TOML = "dataset.toml"
STUDIES = "studies.csv"
BOXES = "boxes.csv"
IMAGES = "images"


@dataclass(frozen=True)
class NumericColumn:
    """A clinical number: its name, its unit, and the range it is expected in (not enforced)."""

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class CategoricalColumn:
    """A clinical category: its name and its possible values, in the order that numbers them from 0."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """One image of one patient. ``image`` is relative to the data set's folder; None is a missing value."""

    study: str
    image: str
    width: int
    height: int
    patient: str
    split: Split
    numeric: tuple[float | None, ...]
    categorical: tuple[str | None, ...]
    source: str | None = None


@dataclass(frozen=True, eq=False)
class DataSet:
    """A checked data set. Boxes are parallel arrays; ``box_study`` holds positions in ``studies``.

    Boxes are ``(xmin, ymin, xmax, ymax)`` in pixels of the stored image; ``labels_of`` counts from 1 in the
    order of ``labels``; ``certainty`` is NaN where the reader gave none.
    """

    root: Path
    name: str
    labels: tuple[str, ...]
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    licence: str
    split_policy: str | None
    studies: tuple[Study, ...]
    box_study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels_of: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]  # M of them
    certainty: NDArray[np.float64]  # (M,)
    mode: str | None = None  # what a study is: unified (an image), normal (a reading), full (without clinical data)
    _splits: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def split(self, name: str) -> tuple[int, ...]:
        """Positions in ``studies`` of the split ``name``, in the order of the file."""
        if name not in self._splits:
            self._splits[name] = tuple(i for i, study in enumerate(self.studies) if study.split == name)
        return self._splits[name]

    def image_path(self, position: int) -> Path:
        """The image file of the study at ``position``."""
        return self.root / self.studies[position].image

    @cached_property
    def image_studies(self) -> tuple[int, ...]:
        """Position of the first study of each image: readings of one image, as studies of their own, share it."""
        firsts: dict[tuple[str, int, int], int] = {}
        for position, study in enumerate(self.studies):
            firsts.setdefault((study.image, study.width, study.height), position)
        return tuple(firsts.values())

    @cached_property
    def image_rows(self) -> NDArray[np.int64]:
        """Per study (N,) the place of its image in ``image_studies``, and so its row of decoded images."""
        studies = self.studies
        rows = {(studies[p].image, studies[p].width, studies[p].height): i for i, p in enumerate(self.image_studies)}
        return np.array([rows[study.image, study.width, study.height] for study in studies], dtype=np.int64)

    def ground_truth(self, split: str) -> GroundTruth:
        """The boxes of one split; studies without boxes are listed too."""
        positions = self.split(split)
        place = np.full(len(self.studies), -1, dtype=np.int64)
        place[list(positions)] = np.arange(len(positions))
        keep = place[self.box_study] >= 0
        return GroundTruth(
            studies=tuple(self.studies[i].study for i in positions),
            patients=tuple(self.studies[i].patient for i in positions),
            categories=self.labels,
            study=place[self.box_study[keep]],
            boxes=self.boxes[keep],
            labels=self.labels_of[keep],
        )

    def columns(
        self, numeric: Sequence[str] | None = None, categorical: Sequence[str] | None = None
    ) -> ClinicalColumns:
        """The clinical columns named, in the order given; None takes all. Raises DataError for an unknown name."""
        numbers = [column.name for column in self.numeric]
        values = {column.name: column.values for column in self.categorical}
        for given, known, kind in ((numeric, numbers, "numeric"), (categorical, list(values), "categorical")):
            for name in given or ():
                if name not in known:
                    raise DataError(
                        no_such(f"{kind} clinical column", name, known), where=self.root / TOML, mend=one_of(known)
                    )
        return ClinicalColumns(
            numeric=tuple(numbers if numeric is None else numeric),
            categorical=tuple((name, values[name]) for name in (values if categorical is None else categorical)),
        )

    def fingerprint(self) -> str:
        """SHA-256 of the tables and of every image's bytes; remembered until a file changes."""
        from mmad.data.fingerprint import digests

        return digests(self).content


def load_dataset(path: Path | str) -> DataSet:
    """Read and check the data set in the folder ``path``; raises DataError naming file, row, key and mend."""
    from mmad.data.reading import read_folder

    return read_folder(Path(path))
