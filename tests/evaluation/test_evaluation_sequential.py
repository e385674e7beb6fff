"""Looks at a study that adds seeds: boundaries as published, and interval, p and verdict of all looks agree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples
from scipy.special import ndtr, ndtri

from mmad.evaluation.differences import FamilyPair, PairSample, differences
from mmad.evaluation.resampling import Interval
from mmad.evaluation.sequential import boundaries, nominal_levels, repeated_p

NOTHING = Interval(math.nan, math.nan, math.nan)


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("obrien_fleming", (2.963, 1.969)),
        ("obrien_fleming", (3.710, 2.511, 1.993)),
        ("obrien_fleming", (4.333, 2.963, 2.359, 2.014)),
        ("obrien_fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
        ("pocock", (2.157, 2.201)),
    ],
)
def test_boundaries_are_the_published_ones_of_equal_steps(kind: str, published: tuple[float, ...]) -> None:
    """Lan and DeMets' spending in the kinds of O'Brien and Fleming, and of Pocock; two-sided 5 %."""
    looks = np.arange(1, len(published) + 1) / len(published)
    of_side = {
        "obrien_fleming": 2 - 2 * ndtr(-ndtri(0.0125) / np.sqrt(looks)),
        "pocock": 0.025 * np.log(1 + (math.e - 1) * looks),
    }
    assert -ndtri(boundaries(looks, 2 * of_side[kind]) / 2) == pytest.approx(published, abs=6e-4)


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=6), st.floats(0.001, 0.2))
@examples(10)
def test_all_looks_together_err_in_alpha(steps: list[float], alpha: float) -> None:
    """The chance that a Brownian motion crosses one of them, by drawing it."""
    fractions = np.array([*sorted(steps), 1.0])
    levels = nominal_levels(fractions, alpha)
    drawn = np.random.default_rng(1).normal(size=(40_000, len(fractions))) * np.sqrt(np.diff(fractions, prepend=0.0))
    crossed = 2 * ndtr(-np.abs(drawn.cumsum(axis=1)) / np.sqrt(fractions)) < levels
    assert crossed.any(axis=1).mean() == pytest.approx(alpha, abs=4.5 * math.sqrt(alpha / 40_000))


def test_one_look_spends_all_and_a_look_that_adds_nothing_spends_nothing() -> None:
    assert nominal_levels(np.array([1.0]), 0.05) == pytest.approx([0.05], rel=1e-6)
    assert nominal_levels(np.array([0.5, 0.5, 1.0]), 0.05)[1] == 0
    assert repeated_p(0.03, np.array([1.0]), 0.05) == pytest.approx(0.03, rel=0.01)


@given(st.floats(1e-6, 0.9), st.lists(st.floats(0.1, 1.0), min_size=1, max_size=5), st.floats(0.001, 0.1))
@examples(10)
def test_a_repeated_p_is_on_the_side_of_the_boundary(p: float, steps: list[float], alpha: float) -> None:
    fractions = np.sort(np.array(steps))
    assert (repeated_p(p, fractions, alpha) < alpha) == (p < nominal_levels(fractions, alpha)[-1])


def family_of(rng: np.random.Generator, pairs: int, seeds: int, shift: float) -> list[FamilyPair]:
    found = []
    for k in range(pairs):
        moved = np.tile(rng.normal(0, 0.003, 40), (seeds, 1))
        ap = (tuple(rng.normal(0.5, 0.04, seeds).tolist()), tuple(rng.normal(0.5 + shift, 0.04, seeds).tolist()))
        sample = PairSample(*ap, tuple(map(tuple, moved.tolist())), NOTHING, (), 0.5, 40, 40, "all")
        runs = (tuple((side, k, n) for n in range(seeds)) for side in "ab")
        found.append(FamilyPair(sample, *runs, tuple(range(seeds)), looks=(3, 8)))
    return found


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(3, 8), st.floats(-0.3, 0.3))
@examples(12)
def test_of_every_look_interval_p_and_verdict_agree(seed: int, pairs: int, seeds: int, shift: float) -> None:
    family = family_of(np.random.default_rng(seed), pairs, seeds, shift)
    plain = differences([replace(one, looks=None) for one in family], draws=2000)
    for found, fixed in zip(differences(family, draws=2000), plain, strict=True):
        if pairs * (seeds - 1) < 4:  # degrees of freedom
            assert math.isnan(found.p)
            continue
        assert (found.p < 0.05) == (not found.ap.low <= 0 <= found.ap.high)
        assert (found.p_pointwise < 0.05) == (not found.pointwise.low <= 0 <= found.pointwise.high)
        assert found.ap.low <= found.pointwise.low
        assert found.ap.low <= fixed.ap.low + 1e-9
        assert found.ap.value == fixed.ap.value


def test_before_the_first_look_nothing_is_said() -> None:
    short = [one.first(2) for one in family_of(np.random.default_rng(3), 3, 4, 0.3)]
    assert all(math.isnan(found.ap.low) and math.isnan(found.p) for found in differences(short))


def test_more_seeds_of_others_do_not_change_a_pair_that_stopped() -> None:
    family = family_of(np.random.default_rng(4), 3, 7, 0.1)
    assert differences(family, draws=2000)[0].lent_freedom == 18
    then = differences([family[0].first(4), *(one.first(4) for one in family[1:])], draws=2000)[0]
    later = differences([family[0].first(4), *family[1:]], draws=2000)[0]
    assert (then.ap, then.p, then.freedom) == (later.ap, later.p, later.freedom)
