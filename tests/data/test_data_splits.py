"""Splits: read from a word, dealt out by whole patients, or by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.data.dataset import policy_of, read_split, split_by_patient, split_by_row


@pytest.mark.parametrize(
    ("word", "split"),
    [("train", "train"), ("Training", "train"), ("DEV", "val"), ("validate", "val"), ("testing", "test")],
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


@pytest.mark.parametrize(
    ("rows", "share", "sizes"),
    [(590, 0.1, (472, 59, 59)), (670, 0.1, (536, 67, 67)), (670, 0.15, (468, 101, 101)), (3, 0.1, (1, 1, 1))],
)
def test_a_split_by_row_has_the_sizes_of_the_log(rows: int, share: float, sizes: tuple[int, int, int]) -> None:
    splits = split_by_row(rows, 0, share)
    assert tuple(splits.count(name) for name in ("train", "val", "test")) == sizes


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_split_of_next_to_nothing_leaves_it_in_train(rows: int) -> None:
    assert split_by_row(rows, 0, 0.1) == ["train"] * rows


def test_the_seed_decides_a_split_by_row() -> None:
    assert split_by_row(50, 0, 0.1) == split_by_row(50, 0, 0.1)
    assert split_by_row(50, 0, 0.1) != split_by_row(50, 1, 0.1)
