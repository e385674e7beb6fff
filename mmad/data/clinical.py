"""Turns clinical columns into the arrays a detector reads, by statistics of the training split or, if asked, of all."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.base.records import SPLITS, ClinicalColumns, Split
from mmad.data.dataset import STUDIES, DataSet

Values = Literal["standardised", "standardised_all_splits", "raw"]
Records = Literal["true", "permuted", "constant", "missing"]
_PERMUTATION = 4  # a stream of random numbers of its own


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

    def constant(self) -> NDArray[np.float32]:
        """The numbers of a record that is the same for everyone: each column's mean, none missing."""
        means = [column.mean if self.values == "raw" else 0.0 for column in self.numeric]
        return np.array([*means, *([0.0] * len(means) if self.indicators else [])], dtype=np.float32)

    def missing(
        self, numeric: NDArray[np.float32], categorical: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Of what ``encode`` gives what is missing alone: every value that is there becomes that of ``constant``."""
        numbers = np.tile(self.constant(), (len(numeric), 1))
        if self.indicators:
            count = len(self.numeric)
            numbers[:, count:] = numeric[:, count:]
        return numbers, np.where(categorical < 0, -1, 0)

    def hide(
        self, numeric: NDArray[np.float32], categorical: NDArray[np.int64], hidden: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What ``encode`` gives where values are missing: ``hidden`` (N, columns), of numbers, then of categories."""
        count = len(self.numeric)
        numbers, away = numeric.copy(), hidden[:, :count]
        numbers[:, :count] = np.where(away, self.constant()[:count], numbers[:, :count])
        if self.indicators:
            numbers[:, count:] = np.maximum(numbers[:, count:], away)
        return numbers, np.where(hidden[:, count:], -1, categorical)

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


def permuted_records(dataset: DataSet, permutation: int) -> NDArray[np.int64]:
    """Per study the study whose clinical record stands in for its own: another patient's of the same split.

    The patients of a split stand in a ring whose order ``permutation`` draws, and each takes the records of the next;
    a record moves whole, with what is missing in it. Of a patient with fewer studies than its receiver records repeat.

    Raises:
        DataError: a split with one patient alone.
    """
    donors = np.arange(len(dataset.studies), dtype=np.int64)
    for number, split in enumerate(SPLITS):
        studies: dict[str, list[int]] = {}
        for position in dataset.split(split):
            studies.setdefault(dataset.studies[position].patient, []).append(position)
        if len(studies) == 1:
            raise DataError(
                f"the split {split!r} has one patient, so there is no other record to permute with",
                where=dataset.root / STUDIES,
                hint='set clinical_records = "true", or give the split more patients',
            )
        names = list(studies)
        ring = np.random.default_rng([permutation, number, _PERMUTATION]).permutation(len(names))
        for receiver, donor in zip(ring, np.roll(ring, -1), strict=True):
            taken = studies[names[donor]]
            for place, position in enumerate(studies[names[receiver]]):
                donors[position] = taken[place % len(taken)]
    return donors


#: What decides which values are missing: chance; another column; how the image was taken; the value itself; then whole
#: columns, whole records.
Mechanism = Literal["random", "column", "view", "value", "columns", "records"]
_MISSING = 5  # a stream of random numbers of its own


def missing_values(
    dataset: DataSet, columns: ClinicalColumns, positions: Sequence[int], mechanism: Mechanism, share: float, draw: int
) -> NDArray[np.bool_]:
    """Which values of the studies at ``positions`` are taken away, (N, columns): the numbers', then the categories'.

    Those of a smaller share are among those of a greater one. They depend on data set, column and ``draw`` alone, so
    they are the same for every arm and seed. By ``column``, ``view`` and ``value`` half of what decides is chance, half
    how high the other column (age, or the first number), the view's name or the value itself ranks; the other column
    keeps its own values.

    Args:
        share: of the values (or columns, or records), 0 to 1.
    """
    names = [*columns.numeric, *(name for name, _ in columns.categorical)]
    count, whole = len(positions), len(names)
    hidden = np.zeros((count, whole), dtype=np.bool_)
    if mechanism == "records":
        hidden[_highest(_chance(draw, "", count), share)] = True
    elif mechanism == "columns":
        hidden[:, _highest(np.array([_chance(draw, name, 1)[0] for name in names]), share)] = True
    else:
        other = _deciding(dataset) if mechanism == "column" else None
        for place, name in enumerate(names):
            if name != other:
                score = _chance(draw, name, count)
                if mechanism == "view":
                    score = score + _ranks_of([dataset.studies[position].taken.view for position in positions])
                elif mechanism != "random":
                    score = score + _ranks(dataset, other or name, positions)
                hidden[_highest(score, share), place] = True
    return hidden


def _chance(draw: int, name: str, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([draw, _MISSING, zlib.crc32(name.encode())]).random(count)


def _highest(score: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The places of the highest ``share`` of the scores."""
    order: NDArray[np.int64] = np.argsort(-score, kind="stable")
    return order[: round(share * len(score))]


def _deciding(dataset: DataSet) -> str:
    """The column that decides about the others: age, or the first number, or the first category."""
    names = [column.name for column in dataset.numeric] + [column.name for column in dataset.categorical]
    return next((name for name in names if name.casefold() == "age"), names[0])


def _ranks(dataset: DataSet, name: str, positions: Sequence[int]) -> NDArray[np.float64]:
    """How high each study's value of a column ranks, 0 to 1; categories in their order, a missing one in the middle."""
    numbers = [column.name for column in dataset.numeric]
    if name in numbers:
        return _ranks_of([dataset.studies[p].numeric[numbers.index(name)] for p in positions])
    place = [column.name for column in dataset.categorical].index(name)
    values = dataset.categorical[place].values
    words = [dataset.studies[p].categorical[place] for p in positions]
    return _ranks_of([None if word is None else values.index(word) for word in words])


def _ranks_of(found: Sequence[float | str | None]) -> NDArray[np.float64]:
    """The ranks of values, 0 to 1; a missing one stands in the middle."""
    known = np.array([value for value in found if value is not None])
    _, place_of, counts = np.unique(known, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place_of]  # equal values share the mean of their ranks
    result = np.full(len(found), 0.5)
    result[[value is not None for value in found]] = ranks / (len(known) + 1)
    return result


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
