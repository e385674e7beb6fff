"""What a data set holds, counted."""

from __future__ import annotations

from dataclasses import dataclass

from mmad.base.records import SPLITS
from mmad.data.acquisition import Acquired, acquired
from mmad.data.audit.findings import SplitCount
from mmad.data.audit.table_checks import split_counts
from mmad.data.dataset import DataSet
from mmad.data.exclusions import Excluded


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
class SplitReaders:
    """The readers of a split by name, and how many of its images have no reading, one, two and so on."""

    names: tuple[str, ...]
    images_by_readings: tuple[int, ...]

    @property
    def words(self) -> str:
        """``readers: R1, R2; images by readings: 3 with 1, 17 with 2``."""
        counts = [f"{count} with {number}" for number, count in enumerate(self.images_by_readings) if count]
        names = ", ".join(self.names) or "not named"
        return f"readers: {names}; images by readings: {', '.join(counts)}"


@dataclass(frozen=True)
class DataSummary:
    """A data set in numbers."""

    name: str
    path: str
    licence: str
    split_policy: str | None
    fingerprint: str
    labels: tuple[str, ...]
    splits: tuple[SplitCount, ...]
    readers: dict[str, SplitReaders]
    columns: tuple[ColumnSummary, ...]
    excluded: tuple[Excluded, ...]
    acquired: Acquired


def summarise(dataset: DataSet) -> DataSummary:
    """Count what ``dataset`` holds; its images' bytes are hashed, not decoded."""
    return DataSummary(
        name=dataset.name,
        path=str(dataset.root),
        licence=dataset.licence,
        split_policy=dataset.split_policy,
        fingerprint=dataset.fingerprint(),
        labels=dataset.labels,
        splits=split_counts(dataset),
        readers={split: SplitReaders(dataset.readers(split), dataset.images_by_readings(split)) for split in SPLITS},
        columns=(*_numbers(dataset), *_categories(dataset)),
        excluded=dataset.excluded,
        acquired=acquired((study.image, study.patient, study.taken) for study in dataset.studies),
    )


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
