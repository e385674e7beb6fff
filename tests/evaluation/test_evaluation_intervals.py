"""Intervals that cover."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from evaluation_samples import simulated
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.errors import EvaluationError
from mmad.base.multiple_testing import holm
from mmad.evaluation.intervals import estimate, weigh
from mmad.evaluation.matching import Matched, match


def matched(seed: int, images: int, **how: float) -> Matched:
    return match(*simulated(seed, images, **how))


@pytest.mark.slow
def test_the_interval_covers() -> None:
    known = float(np.mean([weigh(matched(10**6 + i, 4000)).mean_ap[0] for i in range(40)]))
    inside = 0
    for i in range(500):
        ap = estimate([matched(i, 150)], resamples=300, seed=i).ap
        inside += ap.low <= known <= ap.high
    assert 0.92 <= inside / 500 <= 0.98


def test_seeds_are_resampled_before_the_patients() -> None:
    alike = [matched(0, 100, arm=1)] * 3
    apart = [matched(0, 100, arm=1, shift=s) for s in (-0.4, 0.0, 0.3)]
    narrow, wide = (estimate(runs, resamples=300).ap for runs in (alike, apart))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert estimate(alike, resamples=50).sd == 0
    assert estimate(alike[:1], resamples=50).sd is None


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
