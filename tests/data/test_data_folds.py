"""Folds of a data set: whole patients, each finding in its share, fixed by content and seed."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmad.config.protocol import Fold
from mmad.data.dataset import DataSet, policy_of
from mmad.data.folds import dealt, folded, held_out_ratio, lacking_folds, shared_training
from mmad.data.phantom.generate import make_phantom
from mmad.data.samples import samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=60, image_size=64)


@given(
    arrays(bool, st.tuples(st.integers(1, 60), st.integers(0, 4))),
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
def test_every_patient_is_in_one_part_and_the_rarest_finding_in_its_share(
    holds: np.ndarray, shares: list[int], random: object
) -> None:
    order = list(range(len(holds)))
    random.shuffle(order)  # type: ignore[attr-defined]
    parts = dealt(holds, shares, order)
    assert set(parts.tolist()) <= set(range(len(shares)))
    counts = np.column_stack([holds, ~holds.any(axis=1)]).sum(axis=0)
    rarest = int(np.where(counts > 0, counts, len(holds) + 1).argmin())
    has = np.column_stack([holds, ~holds.any(axis=1)])[:, rarest]
    there = np.bincount(parts[has], minlength=len(shares))
    wanted = np.array(shares) / sum(shares) * has.sum()
    assert (np.abs(there - wanted) < len(shares)).all()
    assert there.sum() == has.sum()


def test_each_fold_tests_patients_of_its_own_and_leaks_none(dataset: DataSet) -> None:
    tested: Counter[str] = Counter()
    trained: list[set[str]] = []
    for number in (1, 2, 3):
        view = folded(dataset, Fold(number=number, of=3))
        patients, splits = [s.patient for s in view.studies], [s.split for s in view.studies]
        assert policy_of(patients, splits) == "patient"
        people = {split: {s.patient for s in view.studies if s.split == split} for split in ("train", "val", "test")}
        tested.update(people["test"])
        assert len(people["test"]) / len(people["train"]) == pytest.approx(held_out_ratio(3), rel=0.25)
        trained.append(people["train"])
        assert len(people["val"]) / (len(people["val"]) + len(people["train"])) == pytest.approx(1 / 6, abs=0.06)
        for split in ("train", "val", "test"):
            assert set(view.ground_truth(split).labels.tolist()) == set(range(1, len(dataset.labels) + 1))
        assert view.fingerprint() == dataset.fingerprint()
    assert tested == Counter({study.patient for study in dataset.studies})
    common = sum(len(a & b) / len(a) for a, b in itertools.combinations(trained, 2)) / 3
    assert common / (1 - common) == pytest.approx(shared_training(3), rel=0.25)


def test_folds_follow_from_content_and_seed_alone(dataset: DataSet, tmp_path: Path) -> None:
    def split(one: DataSet, fold: Fold) -> dict[str, str]:
        return {study.study: study.split for study in folded(one, fold).studies}

    fold = Fold(number=2, of=3)
    assert split(dataset, fold) == split(dataset, fold)
    assert split(dataset, fold) != split(dataset, Fold(number=2, of=3, seed=1))
    other = make_phantom(tmp_path / "other", studies=60, image_size=64, seed=1)
    assert split(dataset, fold) != split(other, fold)
    published = replace(dataset, studies=tuple(replace(s, split="train") for s in dataset.studies), _splits={})
    assert split(published, fold) == split(dataset, fold)


def test_the_readings_of_an_image_are_in_one_fold(dataset: DataSet) -> None:
    fold = Fold(number=1, of=3)
    by_image = {s.image: s.split for s in samples(dataset, "unified", fold).studies}
    assert all(by_image[s.image] == s.split for s in samples(dataset, "normal", fold).studies)


def test_a_finding_that_a_fold_lacks_is_named_with_its_patients(dataset: DataSet) -> None:
    assert lacking_folds(dataset, Fold(number=1, of=3)) is None
    found = lacking_folds(dataset, Fold(number=1, of=30))
    assert found is not None
    label, patients, number = found
    assert label in dataset.labels
    assert 0 < patients < 30
    assert 1 <= number <= 30
