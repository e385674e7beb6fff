"""The clinical encoder: training statistics only, missing values, categories."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.base.records import ClinicalColumns
from mmad.data.acquisition import Acquisition
from mmad.data.clinical import ClinicalEncoder, Mechanism, Values, missing_values
from mmad.data.dataset import CategoricalColumn, DataSet, NumericColumn, Study
from mmad.data.external import _columns as external_columns
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


# values that are taken away


@pytest.mark.parametrize("values", ["standardised", "raw"])
def test_a_hidden_value_is_what_a_missing_one_is(tiny: Path, values: Values) -> None:
    dataset = load_dataset(tiny)
    encoder = ClinicalEncoder.fit(dataset, dataset.columns(), values, indicators=True)
    hidden = np.zeros((4, 3), dtype=bool)
    hidden[0] = True
    numbers, categories = encoder.hide(*encoder.encode(dataset, range(4)), hidden)
    bare = dataclasses.replace(dataset.studies[0], numeric=(None, None), categorical=(None,))
    without = dataclasses.replace(dataset, studies=(bare, *dataset.studies[1:]))
    expected = encoder.encode(without, range(4))
    assert np.array_equal(numbers, expected[0])
    assert np.array_equal(categories, expected[1])


@pytest.mark.parametrize("mechanism", get_args(Mechanism))
def test_missing_values_are_nested_and_the_same_for_every_arm(phantom: DataSet, mechanism: Mechanism) -> None:
    columns, positions = phantom.columns(), range(len(phantom.studies))
    some = phantom.columns(numeric=[c.name for c in phantom.numeric[2:5]])
    smaller = np.zeros((len(positions), len(phantom.numeric) + len(phantom.categorical)), dtype=bool)
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        hidden = missing_values(phantom, columns, positions, mechanism, share, 3)
        assert not (smaller & ~hidden).any()
        smaller = hidden
        if mechanism != "columns":  # of fewer columns another number is taken away
            part = missing_values(phantom, some, positions, mechanism, share, 3)
            assert np.array_equal(part[:, :3], hidden[:, 2:5])
        if mechanism in ("random", "view", "value"):
            assert (hidden.sum(axis=0) == round(share * len(positions))).all()
    assert not np.array_equal(missing_values(phantom, columns, positions, mechanism, 0.5, 4), hidden)


def test_what_decides_about_missing_values_is_the_column_that_it_says(phantom: DataSet) -> None:
    positions = range(len(phantom.studies))
    names = [column.name for column in phantom.numeric]
    table = np.array([[np.nan if v is None else v for v in s.numeric] for s in phantom.studies])
    age, other = names.index("age"), names.index("sbp")

    def excess(mechanism: Mechanism, of: int, by: int) -> float:
        """How much higher column ``by`` is where column ``of`` is taken away, in deviations, over many draws."""
        taken = [missing_values(phantom, phantom.columns(), positions, mechanism, 0.5, d)[:, of] for d in range(20)]
        gaps = [np.nanmean(table[t, by]) - np.nanmean(table[~t, by]) for t in taken]
        return float(np.mean(gaps) / np.nanstd(table[:, by]))

    assert excess("value", other, other) > 0.5
    assert excess("column", other, age) > 0.5
    assert abs(excess("random", other, other)) < 0.3
    assert not missing_values(phantom, phantom.columns(), positions, "column", 0.9, 0)[:, age].any()
    records = missing_values(phantom, phantom.columns(), positions, "records", 0.5, 0)
    assert (records.all(axis=1) | ~records.any(axis=1)).all()
    assert records.all(axis=1).sum() == round(0.5 * len(positions))
    later = [place % 2 for place in positions]
    views = [Acquisition(view=("AP", "PA")[place]) for place in later]
    studies = [dataclasses.replace(s, taken=one) for s, one in zip(phantom.studies, views, strict=True)]
    viewed = dataclasses.replace(phantom, studies=tuple(studies))
    by_view = missing_values(viewed, phantom.columns(), positions, "view", 0.5, 0)
    assert by_view[np.array(later) == 1].mean() > 0.6 > 0.4 > by_view[np.array(later) == 0].mean()
    whole = missing_values(phantom, phantom.columns(), positions, "columns", 0.5, 0)
    assert whole.all(axis=0).sum() == round(0.5 * whole.shape[1])


def test_a_column_of_another_kind_outside_is_named_as_missing() -> None:
    trained = _dataset([1.0], [])
    other = dataclasses.replace(
        trained,
        numeric=(NumericColumn("gender", "", 0, 1),),
        categorical=(CategoricalColumn("age", ("young", "old")),),
    )
    notes: list[str] = []
    assert external_columns(other, trained, ("age",), ("gender",), notes) == ([None], [None])
    assert notes == [f"clinical column {name!r} is not there: missing in every study" for name in ("age", "gender")]
    assert external_columns(trained, trained, ("age",), ("gender",), notes) == ([0], [0])
    assert len(notes) == 2
