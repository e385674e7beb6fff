"""What a data set holds, counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.base.records import SPLITS
from mmad.data.dataset import DataSet


@dataclass(frozen=True)
class SplitSummary:
    """One split: its studies, its patients, and per label (name, boxes, studies that have one)."""

    split: str
    studies: int
    patients: int
    boxes: int
    labels: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ColumnSummary:
    """One clinical column: ``values`` is empty for a number; ``present`` counts the studies with a value.

    ``outside`` counts numbers that leave the expected range.
    """

    name: str
    unit: str
    low: float | None
    high: float | None
    values: tuple[str, ...]
    present: int
    outside: int


@dataclass(frozen=True)
class DataSummary:
    """A data set in numbers."""

    name: str
    path: str
    licence: str
    split_policy: str | None
    fingerprint: str
    labels: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    columns: tuple[ColumnSummary, ...]


def summarise(dataset: DataSet) -> DataSummary:
    """Count what ``dataset`` holds; its images' bytes are hashed, not decoded."""
    return DataSummary(
        name=dataset.name,
        path=str(dataset.root),
        licence=dataset.licence,
        split_policy=dataset.split_policy,
        fingerprint=dataset.fingerprint(),
        labels=dataset.labels,
        splits=tuple(_split(dataset, split) for split in SPLITS),
        columns=(*_numbers(dataset), *_categories(dataset)),
    )


def _split(dataset: DataSet, split: str) -> SplitSummary:
    truth = dataset.ground_truth(split)
    labels = []
    for number, label in enumerate(dataset.labels, 1):
        of_label = truth.labels == number
        labels.append((label, int(of_label.sum()), int(np.unique(truth.study[of_label]).size)))
    return SplitSummary(split, len(truth.studies), len(set(truth.patients)), len(truth.labels), tuple(labels))


def _numbers(dataset: DataSet) -> list[ColumnSummary]:
    columns = []
    for i, column in enumerate(dataset.numeric):
        known = [value for study in dataset.studies if (value := study.numeric[i]) is not None]
        outside = sum(not column.low <= value <= column.high for value in known)
        columns.append(ColumnSummary(column.name, column.unit, column.low, column.high, (), len(known), outside))
    return columns


def _categories(dataset: DataSet) -> list[ColumnSummary]:
    columns = []
    for i, column in enumerate(dataset.categorical):
        present = sum(study.categorical[i] is not None for study in dataset.studies)
        columns.append(ColumnSummary(column.name, "", None, None, column.values, present, 0))
    return columns
