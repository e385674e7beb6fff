"""Intervals that cover."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import EvaluationError
from mmad.base.holm import holm
from mmad.evaluation.intervals import estimate


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no run to evaluate"):
        estimate([])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    assert all(a <= 1 for a in adjusted)
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([math.nan, 0.2])[0])
    assert holm([math.nan, 0.2])[1] == 0.2
