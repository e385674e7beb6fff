"""Turns clinical columns into the arrays a detector reads, by statistics of the training split or, if asked, of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.base.records import ClinicalColumns, Split
from mmad.data.dataset import STUDIES, DataSet

Values = Literal["standardised", "standardised_all_splits", "raw"]


@dataclass(frozen=True)
class ColumnStatistics:
    """Of one numeric column, over what it was learned from: mean and deviation in its unit, how many have a value."""

    name: str
    mean: float
    deviation: float
    present: int
    total: int


@dataclass(frozen=True)
class ClinicalEncoder:
    """Numbers standardised (missing is 0, the mean) or raw (missing takes the training mean).

    With ``indicators`` a second number per column follows them all: 1 where the value is missing, else 0.
    """

    columns: ClinicalColumns
    values: Values
    numeric: tuple[ColumnStatistics, ...]
    indicators: bool = False

    @classmethod
    def fit(
        cls,
        dataset: DataSet,
        columns: ClinicalColumns,
        values: Values = "standardised",
        *,
        indicators: bool = False,
    ) -> ClinicalEncoder:
        """Learn mean and population deviation of each numeric column from the training split.

        With ``standardised_all_splits`` they are learned from every split, test included, as the documented log did.

        A column whose training values are all equal keeps a deviation of 1. Raises DataError for an unknown
        column, and for one without a single value in the training split.
        """
        dataset.columns(columns.numeric, [name for name, _ in columns.categorical])
        splits: tuple[Split, ...] = ("train", "val", "test") if values == "standardised_all_splits" else ("train",)
        training = [position for split in splits for position in dataset.split(split)]
        table = _numbers(dataset, columns, training)
        statistics = []
        for i, name in enumerate(columns.numeric):
            known = table[~np.isnan(table[:, i]), i]
            if known.size == 0:
                raise DataError(
                    f"column {name!r} has no value in the training split",
                    where=dataset.root / STUDIES,
                    hint="leave it out of clinical_numeric",
                )
            spread = float(known.std())
            usable = spread if spread > 1e-9 * max(1.0, abs(float(known.mean()))) else 1.0
            statistics.append(ColumnStatistics(name, float(known.mean()), usable, known.size, len(training)))
        return cls(columns, values, tuple(statistics), indicators)

    def encode(self, dataset: DataSet, positions: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The studies at ``positions`` as numbers (N, n) and categories (N, k), counted from 0, -1 if missing.

        With ``indicators`` there are 2 n numbers: the values, then whether each is missing.
        """
        table = _numbers(dataset, self.columns, positions)  # (N, n), NaN if missing
        mean = np.array([column.mean for column in self.numeric], dtype=np.float64)
        deviation = np.array([column.deviation for column in self.numeric], dtype=np.float64)
        numbers = np.where(np.isnan(table), mean, table)
        if self.values != "raw":
            numbers = (numbers - mean) / deviation
        if self.indicators:
            numbers = np.concatenate([numbers, np.isnan(table)], axis=1)  # (N, 2 n)
        return numbers.astype(np.float32), self._categories(dataset, positions)

    def statistics(self) -> dict[str, Any]:
        """What was learned from the training split, as plain JSON for a checkpoint."""
        return {
            "values": self.values,
            "missing_indicators": self.indicators,
            "numeric": [asdict(column) for column in self.numeric],
            "categorical": [{"name": name, "values": list(values)} for name, values in self.columns.categorical],
        }

    def _categories(self, dataset: DataSet, positions: Sequence[int]) -> NDArray[np.int64]:
        table = np.full((len(positions), len(self.columns.categorical)), -1, dtype=np.int64)
        known = {column.name: i for i, column in enumerate(dataset.categorical)}
        for j, (name, values) in enumerate(self.columns.categorical):
            number = {value: i for i, value in enumerate(values)}
            place = known[name]
            for row, position in enumerate(positions):
                value = dataset.studies[position].categorical[place]
                table[row, j] = -1 if value is None else number.get(value, -1)
        return table


def _numbers(dataset: DataSet, columns: ClinicalColumns, positions: Sequence[int]) -> NDArray[np.float64]:
    """The chosen numeric columns of the studies at ``positions`` (N, n); NaN where missing."""
    known = {column.name: i for i, column in enumerate(dataset.numeric)}
    places = [known[name] for name in columns.numeric]
    table = np.full((len(positions), len(places)), np.nan)
    for row, position in enumerate(positions):
        numbers = dataset.studies[position].numeric
        for j, place in enumerate(places):
            if (value := numbers[place]) is not None:
                table[row, j] = value
    return table
