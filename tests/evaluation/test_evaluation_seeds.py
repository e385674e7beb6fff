"""Several seeds: the interval of one arm counts their spread."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import several
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.evaluation.intervals import error_of, estimate
from mmad.evaluation.matching import Matched, match
from mmad.evaluation.resampling import weigh

TRIALS = 250


def runs(trial: int, seeds: int, spread: float, arm: int, **how: float) -> list[Matched]:
    return [match(*one) for one in several(trial, 100, seeds=seeds, spread=spread, arm=arm, patients=0.2, **how)]


@pytest.mark.slow
def test_the_interval_of_several_seeds_covers() -> None:
    known = np.mean([weigh(run).mean_ap[0] for i in range(3 * TRIALS) for run in runs(10**6 + i, 2, 0.05, 1)])
    inside = 0
    for i in range(TRIALS):
        ap = estimate(runs(i, 5, 0.05, 1)).ap
        inside += ap.low <= known <= ap.high
    assert 0.92 <= inside / TRIALS <= 0.98


@examples(25)
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_the_error_of_a_mean_over_seeds_is_that_of_a_reader_study(seeds: int, seed: int) -> None:
    """By the formulas: MS(seeds) / r + Cov2, with Hillis' degrees of freedom."""
    rng = np.random.default_rng(seed)
    values, patients = rng.normal(0, 1, seeds), 60
    without = values[:, None] + rng.normal(0, 0.02, patients) + rng.normal(0, 0.01, (seeds, patients))
    covariance = np.cov(without) * (patients - 1) ** 2 / patients
    shared = max(0.0, covariance[~np.eye(seeds, dtype=bool)].mean())
    among = max(values.var(ddof=1), np.diag(covariance).mean() - shared)
    found = error_of(values, without, patients)
    assert found.variance == pytest.approx(among / seeds + shared)
    assert found.freedom <= ((among + seeds * shared) / among) ** 2 * (seeds - 1) + 1e-9


def test_seeds_that_agree_by_luck_are_not_surer_than_their_patients() -> None:
    without = 0.5 + np.random.default_rng(0).normal(0, 0.01, (2, 60))
    alone = error_of(np.array([0.5]), without[:1], 60).variance
    assert error_of(np.array([0.5, 0.5]), without, 60).variance > 0.4 * alone
