"""The clinical vector: numbers, indicators, and what an unknown category becomes."""

from __future__ import annotations

import pytest
import torch

from mmad.base.records import ClinicalColumns
from mmad.detector.clinical import ClinicalVector

COLUMNS = ClinicalColumns(("age", "pain"), (("gender", ("F", "M")),))
NUMBERS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
KNOWN_AND_NOT = torch.tensor([[1], [-1]])


def test_an_unknown_category_is_zero() -> None:
    vector = ClinicalVector(COLUMNS, 5)
    joined = vector(NUMBERS, KNOWN_AND_NOT)
    assert torch.equal(joined[:, :2], NUMBERS)
    assert torch.equal(joined[0, 2:], vector.embeddings[0].weight[1])
    assert joined[1, 2:].tolist() == [0, 0, 0]


def test_with_a_slot_of_its_own_it_is_learned() -> None:
    vector = ClinicalVector(COLUMNS, 5, unknown_slot=True)
    joined = vector(NUMBERS, KNOWN_AND_NOT)
    assert torch.equal(joined[:, 2:], vector.embeddings[0].weight[[1, 2]])
    joined[1].sum().backward()
    assert vector.embeddings[0].weight.grad.any(dim=1).tolist() == [False, False, True]


@pytest.mark.parametrize("length", [5, 6, 9])
def test_indicators_take_their_room_from_the_embeddings(length: int) -> None:
    vector = ClinicalVector(COLUMNS, length, indicators=True)
    joined = vector(torch.arange(8.0).view(2, 4), KNOWN_AND_NOT)
    assert joined.shape == (2, length)
    assert joined[1, :4].tolist() == [4, 5, 6, 7]
    assert vector.embeddings[0].weight.shape == (2, length - 4)
