"""Several seeds: the interval of one arm counts their spread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_samples import several
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.evaluation.intervals import estimate, mean_interval, spread_of, weigh
from mmad.evaluation.matching import Matched, match

TRIALS = 250


def runs(trial: int, seeds: int, spread: float, arm: int, **how: float) -> list[Matched]:
    return [match(*one) for one in several(trial, 100, seeds=seeds, spread=spread, arm=arm, patients=0.2, **how)]


@pytest.mark.slow
def test_the_interval_of_several_seeds_covers() -> None:
    known = np.mean([weigh(run).mean_ap[0] for i in range(3 * TRIALS) for run in runs(10**6 + i, 2, 0.05, 1)])
    inside = 0
    for i in range(TRIALS):
        ap = estimate(runs(i, 5, 0.05, 1), resamples=300, seed=i).ap
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
    low, high = np.quantile(drawn, [0.025, 0.975])
    kept = mean_interval(np.zeros(1), drawn, 0.95, (-9, 9))
    assert (kept.low, kept.high) == (low, high)


def test_an_interval_stays_within_what_is_possible() -> None:
    drawn = np.array([[0.9] * 50, [0.2] * 50]) + np.random.default_rng(0).normal(0, 0.01, (2, 50))
    found = mean_interval(np.array([0.9, 0.2]), drawn, 0.95, (0.0, 1.0))
    assert (found.low, found.high) == (0, 1)
