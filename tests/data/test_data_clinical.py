"""The clinical encoder: training statistics only, missing values, categories."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.base.records import ClinicalColumns
from mmad.data.clinical import ClinicalEncoder, Values
from mmad.data.dataset import CategoricalColumn, DataSet, NumericColumn, Study
from mmad.data.reader import load_dataset


def _dataset(train: list[float | None], other: list[float | None]) -> DataSet:
    """A data set in memory with one number and one category."""
    studies = [
        Study(f"s{i}", "x.png", 4, 4, f"p{i}", "train" if i < len(train) else "val", (value,), (None,))
        for i, value in enumerate(train + other)
    ]
    nothing = np.zeros(0, dtype=np.int64)
    return DataSet(
        root=Path("memory"),
        name="memory",
        labels=("A",),
        numeric=(NumericColumn("age", "years", 0, 100),),
        categorical=(CategoricalColumn("gender", ("F", "M")),),
        licence="CC0-1.0",
        split_policy=None,
        studies=tuple(studies),
        box_study=nothing,
        boxes=np.zeros((0, 4)),
        labels_of=nothing,
        reading=(),
        certainty=np.zeros(0),
    )


def test_standardised_with_the_training_split(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    encoder = ClinicalEncoder.fit(dataset, dataset.columns())
    numbers, categories = encoder.encode(dataset, range(4))
    assert numbers.dtype == np.float32
    assert categories.dtype == np.int64
    # age in training: 40 and 60, so mean 50 and deviation 10; temperature: one value, deviation 1
    assert numbers[:, 0].tolist() == [-1.0, 1.0, 0.0, -2.0]
    assert numbers[:, 1] == pytest.approx([0.0, 0.0, 101 - 98.6, 99 - 98.6], abs=1e-5)
    assert categories[:, 0].tolist() == [0, 1, -1, 1]


def test_raw_keeps_the_unit_and_fills_in_the_training_mean(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    numbers, _ = ClinicalEncoder.fit(dataset, dataset.columns(), "raw").encode(dataset, range(4))
    assert numbers[:, 0].tolist() == [40, 60, 50, 30]
    assert numbers[1, 1] == pytest.approx(98.6)


def test_standardised_with_all_splits_as_the_log_did(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    encoder = ClinicalEncoder.fit(dataset, dataset.columns(), "standardised_all_splits")
    numbers, _ = encoder.encode(dataset, range(4))
    ages = np.array([40.0, 60, 30])  # the third is missing
    expected = (ages - ages.mean()) / ages.std()
    assert numbers[:, 0] == pytest.approx([*expected[:2], 0.0, expected[2]], abs=1e-6)


def test_order_of_columns_is_the_order_asked(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    encoder = ClinicalEncoder.fit(dataset, dataset.columns(["temperature", "age"], []), "raw")
    numbers, categories = encoder.encode(dataset, [3, 0])
    assert numbers.tolist() == [[99, 30], [pytest.approx(98.6), 40]]
    assert categories.shape == (2, 0)


@pytest.mark.parametrize("values", ["standardised", "raw"])
def test_indicators_follow_the_numbers_and_say_what_is_missing(tiny: Path, values: Values) -> None:
    dataset = load_dataset(tiny)
    plain, _ = ClinicalEncoder.fit(dataset, dataset.columns(), values).encode(dataset, range(4))
    numbers, _ = ClinicalEncoder.fit(dataset, dataset.columns(), values, indicators=True).encode(dataset, range(4))
    assert numbers.dtype == np.float32
    assert np.array_equal(numbers[:, :2], plain)
    assert numbers[:, 2:].tolist() == [[0, 0], [0, 1], [1, 0], [0, 0]]


def test_statistics_are_json(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    told = json.loads(json.dumps(ClinicalEncoder.fit(dataset, dataset.columns()).statistics()))
    assert told["values"] == "standardised"
    assert told["numeric"][0] == {"name": "age", "mean": 50.0, "deviation": 10.0, "present": 2, "total": 2}
    assert told["categorical"] == [{"name": "gender", "values": ["F", "M"]}]


def test_a_column_without_training_values_is_refused(change: Callable[[str, str, str], Path]) -> None:
    dataset = load_dataset(change("studies.csv", "40,98.6,F", "40,,F"))
    with pytest.raises(DataError, match=r"'temperature' has no value in the training split"):
        ClinicalEncoder.fit(dataset, dataset.columns())
    assert ClinicalEncoder.fit(dataset, dataset.columns(["age"])).numeric[0].present == 2


def test_an_unknown_column_is_refused(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    with pytest.raises(DataError, match=r"unknown numeric clinical column 'agee'"):
        ClinicalEncoder.fit(dataset, ClinicalColumns(("agee",), ()))


_cells = st.lists(st.one_of(st.none(), st.floats(-1e4, 1e4)), min_size=1, max_size=20)


@pytest.mark.slow
@given(_cells.filter(lambda cells: any(c is not None for c in cells)), _cells, _cells)
def test_other_splits_never_change_the_encoding(
    train: list[float | None], other: list[float | None], changed: list[float | None]
) -> None:
    first, second = _dataset(train, other), _dataset(train, changed)
    columns = ClinicalColumns(("age",), ())
    one, two = ClinicalEncoder.fit(first, columns), ClinicalEncoder.fit(second, columns)
    assert one == two
    numbers, _ = one.encode(first, first.split("train"))
    assert np.isfinite(numbers).all()
    assert all(numbers[i, 0] == 0 for i, cell in enumerate(train) if cell is None)
