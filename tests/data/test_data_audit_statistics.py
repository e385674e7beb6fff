"""What follows what: the exact test, its correction, and leaks planted into a data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.holm import holm
from mmad.base.records import SPLITS, Split
from mmad.data.audit.findings import AuditIssue
from mmad.data.audit.table_checks import clinical_findings, fisher, leak_findings, phi, scaled
from mmad.data.dataset import CategoricalColumn, DataSet, NumericColumn, Study
from mmad.data.quantities import confusion

count = st.integers(0, 40)


def enumerated(a: int, b: int, c: int, d: int) -> float:
    """Fisher's p by the definition, in whole numbers."""
    row, column, whole = a + b, a + c, a + b + c + d
    ways = {k: math.comb(row, k) * math.comb(whole - row, column - k) for k in range(min(row, column) + 1)}
    return sum(w for w in ways.values() if w <= ways[a]) / math.comb(whole, column)


@given(count, count, count, count)
def test_fisher_is_the_sum_of_what_is_no_likelier(a: int, b: int, c: int, d: int) -> None:
    if 0 in (a + b, c + d, a + c, b + d):
        assert fisher((a, b, c, d)) == 1.0
    else:
        assert fisher((a, b, c, d)) == pytest.approx(enumerated(a, b, c, d), rel=1e-6)


def test_known_tables() -> None:
    assert fisher((3, 1, 1, 3)) == pytest.approx(34 / 70)  # the lady tasting tea
    assert fisher((50_000, 0, 0, 50_000)) == 0.0
    assert phi((10, 0, 0, 10)) == 1.0
    assert phi((0, 10, 10, 0)) == -1.0
    assert phi((5, 5, 5, 5)) == 0.0
    assert phi((5, 5, 0, 0)) == 0.0
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    assert scaled((10, 4, 0, 6), 0.5) == (5, 2, 0, 3)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_a_corrected_p_is_never_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    assert sorted(range(len(p_values)), key=p_values.__getitem__) == sorted(
        range(len(p_values)), key=lambda i: (corrected[i], p_values[i])
    )


def world(
    studies: int, missing: Callable[[int], bool], source: Callable[[int], str], has: Callable[[int], bool]
) -> DataSet:
    rows = tuple(
        Study(f"s{i}", f"{i}.png", 10, 10, f"p{i}", "train", (None if missing(i) else 1.0 + i % 7,), (), source(i))
        for i in range(studies)
    )
    boxed = [i for i in range(studies) if has(i)]
    return DataSet(
        root=Path("world"),
        name="world",
        labels=("A",),
        numeric=(NumericColumn("age", "years", 0, 10),),
        categorical=(),
        licence="",
        split_policy=None,
        studies=rows,
        box_study=np.array(boxed, dtype=np.int64),
        boxes=np.tile([0.0, 0.0, 5.0, 5.0], (len(boxed), 1)),
        labels_of=np.ones(len(boxed), dtype=np.int64),
        reading=("",) * len(boxed),
        certainty=np.full(len(boxed), np.nan),
    )


def told(dataset: DataSet) -> dict[str, AuditIssue]:
    return {found.code: found for found in leak_findings(dataset)}


def test_missingness_that_follows_a_label() -> None:
    rng = np.random.default_rng(1)
    noise = rng.random(200)
    dataset = world(200, lambda i: i % 2 == 0 and noise[i] < 0.8, lambda i: "one", lambda i: i % 2 == 0)
    found = told(dataset)
    assert set(found) == {"missingness-follows-label"}
    leak = found["missingness-follows-label"]
    assert leak.level == "warning"
    assert leak.where == "studies.csv, column age"
    assert "of the studies with label 'A', in 0 % of the others" in leak.what
    assert leak.rows[0] in {"s0", "s2", "s4"}


def test_missingness_and_labels_that_follow_a_source() -> None:
    dataset = world(90, lambda i: i < 30, lambda i: "north" if i < 30 else "south", lambda i: i % 30 < 10 or i < 30)
    found = told(dataset)
    assert set(found) == {"missingness-follows-label", "missingness-follows-source", "label-follows-source"}
    assert "100 % of the studies from source 'north', in 0 % of the others" in found["missingness-follows-source"].what
    assert found["missingness-follows-source"].count == 30


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_not_told(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gone, boxed, place = rng.random(300) < 0.2, rng.random(300) < 0.4, rng.integers(6, size=300)
    assert told(world(300, lambda i: gone[i], lambda i: f"h{place[i]}", lambda i: boxed[i])) == {}


def test_studies_of_one_patient_are_no_independent_cases() -> None:
    dataset = world(60, lambda i: i < 30, lambda i: "one", lambda i: i < 30)
    assert told(dataset)
    few = tuple(dataclasses.replace(study, patient=f"p{i // 10}") for i, study in enumerate(dataset.studies))
    assert told(dataclasses.replace(dataset, studies=few, _splits={})) == {}


def test_tiny_sources_are_not_tested() -> None:
    assert told(world(90, lambda i: i < 30, lambda i: f"source {i // 4}", lambda i: i % 2 == 0)) == {}


@pytest.mark.parametrize(
    ("name", "unit", "values", "other"),
    [
        ("temperature", "°F", [98.6, 37.0, 101.2], "°C"),
        ("temp_c", "", [36.5, 99.1], "°F"),
        ("temp", "", [98.6, 99.0, 37.0], "°C"),
        ("temperature_c", "°C", [98.6, 99.0], "°F"),
        ("o2sat", "%", [97, 98, 240], "mmHg"),
        ("spo2_pct", "%", [97, 0.95], "fraction of 1"),
        ("pao2_mmhg", "mmHg", [90, 11.5], "kPa"),
        ("sbp", "mmHg", [120, 16.5], "kPa"),
        ("height", "cm", [170, 1.8], "m"),
        ("age", "years", [40, 400], "months or days"),
        ("weight", "kg", [150, 180, 190], "lb"),
    ],
)
def test_values_of_another_unit_are_told(name: str, unit: str, values: list[float], other: str) -> None:
    found = confusion(NumericColumn(name, unit, 0, 1000), np.array([*values, np.nan]))
    assert found is not None
    assert found.other == other
    assert not found.values[-1]


@pytest.mark.parametrize(
    ("name", "unit", "values"),
    [
        ("temperature", "°F", [94.0, 98.6, 106.0]),
        ("temperature", "°C", [34.0, 41.5]),
        ("temperature", "", [36.5, 37.5]),
        ("o2sat", "%", [40, 100]),
        ("sbp", "mmHg", [60, 240]),
        ("dbp", "mmHg", [26, 140]),
        ("weight", "kg", [45, 160, 80]),
        ("weight", "lb", [150, 200]),
        ("weight", "", [150, 200]),
        ("age", "years", [0, 104]),
        ("heartrate", "1/min", [30, 300]),
        ("contempt", "", [1, 100]),
        ("temperature", "°F", []),
    ],
)
def test_plausible_values_are_not_told(name: str, unit: str, values: list[float]) -> None:
    assert confusion(NumericColumn(name, unit, 0, 1000), np.array([*values, np.nan])) is None


def clinical(values: list[float | None], splits: list[str], column: NumericColumn, words: list[str | None]) -> set[str]:
    base = world(len(values), lambda i: False, lambda i: "one", lambda i: True)
    rows = tuple(
        dataclasses.replace(study, numeric=(values[i],), categorical=(words[i],), split=splits[i])
        for i, study in enumerate(base.studies)
    )
    category = CategoricalColumn("sex", ("F", "M"))
    dataset = dataclasses.replace(base, numeric=(column,), categorical=(category,), studies=rows, _splits={})
    return {found.code for found in clinical_findings(dataset)}


def test_missing_constant_and_outside() -> None:
    pulse = NumericColumn("pulse", "1/min", 40, 160)
    sexes: list[str | None] = ["F", "M", "F", "M"]
    train = ["train"] * 4
    assert clinical([60, 70, 80, 90], train, pulse, sexes) == set()
    assert clinical([60, 70, 80, 190], train, pulse, sexes) == {"value-out-of-range"}
    assert clinical([60, 70, None, 90], train, pulse, sexes) == set()  # of four studies
    assert clinical([60, 70, None, 90] * 3, train * 3, pulse, sexes * 3) == set()  # by chance
    assert clinical([60, None, None, 90] * 6, train * 6, pulse, sexes * 6) == {"value-missing"}
    assert clinical([60, 70, 80, None] * 60, train * 60, pulse, sexes * 60) == {"value-missing"}
    assert clinical([60, 70, 80, 90] * 2 + [50, None], train * 2 + train[:2], pulse, sexes * 3) == set()
    assert clinical([60, 60, 60, 60], train, pulse, sexes) == {"column-constant"}
    assert clinical([60, 70, 80, 90], train, pulse, ["F", "F", "F", "F"]) == {"column-constant"}
    assert clinical([None, None, 80, 90], ["train", "train", "val", "test"], pulse, sexes) == {"column-empty"}


def test_every_table_of_small_margins_is_a_chance() -> None:
    assert all(0 <= fisher((a, b, c, d)) <= 1 for a, b, c, d in product(range(4), repeat=4))


def split_world(studies: int, split: Callable[[int], Split], image: Callable[[int], str], shift: float = 0) -> DataSet:
    """Every third study has the label; the test split's numbers are ``shift`` higher."""
    made = world(studies, lambda i: False, lambda i: "", lambda i: i % 3 == 0)
    rng = np.random.default_rng(0)
    rows = tuple(
        dataclasses.replace(
            study,
            split=split(i),
            image=image(i),
            numeric=(5 + 0.5 * float(rng.normal()) + (shift if split(i) == "test" else 0),),
        )
        for i, study in enumerate(made.studies)
    )
    return dataclasses.replace(made, studies=rows)


def thirds(i: int) -> Split:
    return SPLITS[i % 7 % 3]


def test_a_label_and_a_split_that_follow_the_files_are_found() -> None:
    by_label = leak_findings(split_world(120, thirds, lambda i: f"{i}.{'jpg' if i % 3 == 0 else 'png'}"))
    assert [found.code for found in by_label] == ["label-follows-file"]
    assert "format .jpg have 'A', 0 % of the others" in by_label[0].what
    by_split = leak_findings(split_world(120, thirds, lambda i: f"{i}.{'jpg' if thirds(i) == 'test' else 'png'}"))
    assert {found.code for found in by_split} == {"split-follows-file"}
    assert not leak_findings(split_world(120, thirds, lambda i: f"{i}.{'jpg' if i % 5 == 0 else 'png'}"))


def test_a_label_that_follows_a_mark_in_a_corner_is_found() -> None:
    dataset = split_world(120, thirds, lambda i: f"{i}.png")
    corners = np.zeros((120, 4), dtype=np.bool_)
    corners[::3, 1] = True
    found = leak_findings(dataset, corners)
    assert [one.code for one in found] == ["label-follows-marker"]
    assert "a bright mark in the image's top right corner" in found[0].what
    corners[:, 1] = np.random.default_rng(0).random(120) < 0.5
    assert not leak_findings(dataset, corners)


def test_a_split_with_other_values_is_found() -> None:
    codes = [found.code for found in clinical_findings(split_world(400, thirds, lambda i: f"{i}.png", shift=1))]
    assert codes == ["value-shifted"]
    assert not clinical_findings(split_world(400, thirds, lambda i: f"{i}.png"))
