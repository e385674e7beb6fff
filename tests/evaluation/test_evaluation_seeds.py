"""Several seeds: p and intervals count their spread, and reject as often as they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_samples import several
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.evaluation.intervals import (
    Difference,
    Spread,
    compare,
    difference_interval,
    permutation_p,
    spread_of,
    t_test,
    weigh,
)
from mmad.evaluation.jackknife import error_of, estimate
from mmad.evaluation.matching import Matched, match

TRIALS = 250


def runs(trial: int, seeds: int, spread: float, arm: int, **how: float) -> list[Matched]:
    return [match(*one) for one in several(trial, 100, seeds=seeds, spread=spread, arm=arm, patients=0.2, **how)]


def null(trial: int, seeds: int, spread: float) -> Difference:
    return compare(*(runs(trial, seeds, spread, arm) for arm in (1, 2)), resamples=300, seed=trial)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 0.1), (5, 0.1)])
def test_without_a_difference_one_in_twenty_is_rejected_also_of_seeds_that_differ(seeds: int, spread: float) -> None:
    found = [null(i, seeds, spread) for i in range(TRIALS)]
    rejected = sum(f.p <= 0.05 for f in found) / TRIALS
    assert 0.03 <= rejected <= 0.07
    assert 0.02 <= sum(f.verdict != "not settled" for f in found) / TRIALS <= 0.08
    alone = sum(f.p_patients <= 0.05 for f in found) / TRIALS
    assert alone <= 0.08 if spread == 0 else alone > 0.25  # what the swap within patients takes for a difference
    share = float(np.mean([f.seed_share or 0 for f in found]))
    assert share < 0.25 if spread == 0 else share > 0.5


@pytest.mark.slow
def test_two_seeds_reject_no_more_than_that() -> None:
    assert sum(null(i, 2, 0.1).p <= 0.05 for i in range(TRIALS)) / TRIALS <= 0.07


@pytest.mark.slow
def test_the_interval_of_several_seeds_covers() -> None:
    known = np.mean([weigh(run).mean_ap[0] for i in range(3 * TRIALS) for run in runs(10**6 + i, 2, 0.05, 1)])
    inside = 0
    for i in range(TRIALS):
        ap = estimate(runs(i, 5, 0.05, 1)).ap
        inside += ap.low <= known <= ap.high
    assert 0.92 <= inside / TRIALS <= 0.98


@examples(50)
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_the_parts_of_the_spread_are_those_of_the_model(seeds: int, seed: int) -> None:
    """Without noise of its own a seed's difference moves with the patients as every other's does."""
    rng = np.random.default_rng(seed)
    once, shared = rng.normal(size=seeds), rng.normal(size=200)
    found = spread_of(once, once[:, None] + shared)
    among, patients = once.var(ddof=1) / seeds, shared.var(ddof=1)
    assert found.error == pytest.approx(math.sqrt(among + patients))
    assert found.error_seeds == pytest.approx(math.sqrt(among))
    assert found.error_patients == pytest.approx(math.sqrt(patients))
    assert found.seed_share == pytest.approx(among / (among + patients))
    assert found.freedom >= seeds - 1 - 1e-9


def test_one_seed_is_left_to_the_patients() -> None:
    drawn = np.random.default_rng(0).normal(size=(1, 500))
    found = spread_of(np.zeros(1), drawn)
    assert (found.error_seeds, found.seed_share, found.freedom) == (None, None, math.inf)


def test_the_t_test_by_hand() -> None:
    assert t_test(4.302653, Spread(1.0, 2, 0.5, 0.5), 1e-9) == pytest.approx(0.05, abs=1e-6)
    assert t_test(1.959964, Spread(1.0, math.inf, 0.5, 0.5), 1e-9) == pytest.approx(0.05, abs=1e-6)
    assert t_test(9.0, Spread(0.0, 2, 0.0, 0.0), 0.01) == 0.01
    assert t_test(0.0, Spread(0.0, 2, 0.0, 0.0), 0.01) == 1
    assert math.isnan(t_test(math.nan, Spread(1.0, 2, 1.0, 1.0), 0.01))


@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.floats(-0.2, 0.2))
def test_the_interval_of_a_difference_leaves_0_out_where_the_test_rejects(seeds: int, seed: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    patients = random.normal(0, 0.05, 400)
    once = shift + random.normal(0, 0.05, seeds)
    drawn = once[:, None] + patients + random.normal(0, 0.02, (seeds, 400))
    found = difference_interval(once, drawn, 0.95, (-1.0, 1.0))
    p = t_test(float(once.mean()), spread_of(once, drawn), 1e-12)
    assert found.low <= found.value <= found.high
    assert (p < 0.05) == (not found.low <= 0 <= found.high)


@examples(50)
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


def test_seeds_of_one_patient_are_swapped_together() -> None:
    """The same run under three names is no more evidence than once."""
    one, other = runs(1, 1, 0.0, 1)[0], runs(1, 1, 0.0, 2, shift=0.1)[0]
    assert permutation_p([(one, other)] * 3, resamples=200) == permutation_p([(one, other)], resamples=200)


def test_a_difference_between_seeds_that_differ_is_still_found() -> None:
    found = compare(runs(0, 4, 0.03, 1, shift=-0.3), runs(0, 4, 0.03, 2), resamples=200)
    assert found.verdict == "better"
    assert found.p < 0.01
    assert len(found.per_class[0]) == 3
