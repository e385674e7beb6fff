"""Splits: read from a word, or dealt out by whole patients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.data.splits import policy_of, read_split, split_by_patient


@pytest.mark.parametrize(
    ("word", "split"),
    [("train", "train"), ("Training", "train"), ("DEV", "val"), ("valid", "val"), ("testing", "test")],
)
def test_words_of_a_split(word: str, split: str) -> None:
    assert read_split(word, "here") == split


def test_an_unknown_word_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"table:3: unknown split 'tset'.*'test'.*use one of"):
        read_split("tset", "table:3")


@given(st.lists(st.text(max_size=3), min_size=1, max_size=60))
def test_patients_stay_whole_whatever_the_order(patients: list[str]) -> None:
    splits = split_by_patient(patients)
    assert policy_of(patients, splits) == "patient"
    again = dict(zip(reversed(patients), split_by_patient(patients[::-1]), strict=True))
    assert again == dict(zip(patients, splits, strict=True))


def test_shares_are_70_15_15() -> None:
    splits = split_by_patient([str(i) for i in range(1000)])
    assert [splits.count(name) for name in ("train", "val", "test")] == [700, 150, 150]


def test_a_patient_in_two_splits_is_told() -> None:
    assert policy_of(["a", "a"], ["train", "val"]) == "image"
