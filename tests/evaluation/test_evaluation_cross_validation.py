"""Figures over folds: the published correction, and interval, p and verdict that agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample_split
from folds import FoldWorld, share
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.cross_validation import fold_error, over_folds, pooled_ap
from mmad.evaluation.differences import (
    Difference,
    FamilyPair,
    FoldedPair,
    FoldedSample,
    Goal,
    PairSample,
    differences,
    folded_mean_difference,
    on_common_patients,
)
from mmad.evaluation.intervals import estimate
from mmad.evaluation.matching import match
from mmad.evaluation.resampling import Interval, weigh

NOTHING = Interval(math.nan, math.nan, math.nan)


def pair_over(each: Sequence[float], ratio: float = 0.3, goal: Goal | None = None) -> FoldedPair:
    """Folds of one seed in which the arms differ by ``each``."""
    samples = tuple(
        PairSample((0.3,), (0.3 + value,), (), one, (("A", one, NOTHING),), 1.0, 9, 9, "")
        for value, one in ((value, Interval(value, -1, 1)) for value in each)
    )
    return FoldedPair(FoldedSample(samples, len(each), ratio), goal)


def test_the_correction_is_the_published_one() -> None:
    """100 resamples of 90 and 10 points: the corrected t is .28735 times the plain one, 2.611 becomes .750."""
    values = np.random.default_rng(0).normal(0.01, 0.03, 100)
    error, freedom = fold_error(values, 10 / 90)
    plain = math.sqrt(values.var(ddof=1) / 100)
    assert freedom == 99
    assert plain / error == pytest.approx(0.28735, abs=5e-6)
    assert 2.611 * plain / error == pytest.approx(0.750, abs=5e-4)


def test_one_fold_or_equal_folds_have_no_interval() -> None:
    for values in ([0.4], [0.4, 0.4, 0.4]):
        found = over_folds(values, 0.3)
        assert found.value == pytest.approx(0.4)
        assert math.isnan(found.low)
    assert over_folds([0.1, 0.9], 1.2) == Interval(0.5, 0.0, 1.0)


@given(st.lists(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_interval_and_p_agree_for_each_pair_of_a_family(family: list[list[float]]) -> None:
    for found, each in zip(differences([pair_over(one) for one in family]), family, strict=True):
        assert found.ap.value == pytest.approx(np.mean(each))
        assert (found.folds, found.seeds, found.freedom, found.family) == (3, 1, 2, len(family))
        if not math.isnan(found.p):
            assert found.p == pytest.approx(min(1, len(family) * found.p_pointwise))
            assert (found.p < 0.05) == (not found.ap.low <= 0 <= found.ap.high)
            assert found.ap.low <= found.pointwise.low <= found.pointwise.high <= found.ap.high


def test_a_registered_pair_is_decided_on_its_goal_alone() -> None:
    same = pair_over([0.01, -0.01, 0.0, 0.005, -0.005], goal=Goal("equivalence", 0.1))
    found: list[Difference] = differences([same, pair_over([0.2, 0.21, 0.19, 0.2, 0.22])])
    assert found[0].decision is not None
    assert found[0].decision.reached
    assert [one.family for one in found] == [1, 1]
    assert found[1].ap.low > 0
    assert found[1].per_class[0][1].value == pytest.approx(found[1].ap.value)


def test_the_pair_by_itself_is_at_95_percent_whatever_alpha_is_registered() -> None:
    each = [0.1, 0.02, 0.07]
    (plain,), (registered,) = (differences([pair_over(each, goal=goal)]) for goal in (None, Goal(alpha=0.2)))
    assert registered.level == pytest.approx(0.8)
    assert (registered.pointwise, registered.p_pointwise) == (plain.pointwise, plain.p_pointwise)
    assert registered.pointwise.low < 0 < registered.ap.low
    assert registered.decision is not None
    assert (registered.ap, registered.p) == (registered.decision.interval, registered.decision.p)


def test_a_mean_over_other_folds_is_not_known() -> None:
    """As many folds are not the same ones."""
    whole = pair_over([0.1, 0.2, 0.15]).sample
    named = [replace(part, cohort=str(n)) for n, part in enumerate(whole.folds)]
    first, last = (replace(whole, folds=tuple(parts)) for parts in (named[:2], named[1:]))
    assert folded_mean_difference([first, first]).ap.value == pytest.approx(0.15)
    found = folded_mean_difference([first, last])
    assert (found.seeds, math.isnan(found.ap.value), math.isnan(found.p)) == (0, True, True)


def test_detections_of_one_network_pooled_are_those_of_one_split() -> None:
    detections, truth = sample_split(3, images=30)
    parts = []
    for rows in np.array_split(np.arange(30), 3):
        here, there = np.isin(detections.study, rows), np.isin(truth.study, rows)
        names = truth.studies[rows[0] : rows[-1] + 1]
        of = (detections.boxes[here], detections.scores[here], detections.labels[here])
        given = GroundTruth(
            names, names, truth.categories, truth.study[there] - rows[0], truth.boxes[there], truth.labels[there]
        )
        parts.append(match(Detections(names, detections.study[here] - rows[0], *of), given))
    whole = match(detections, replace(truth, ignore=None))
    assert pooled_ap(parts) == float(weigh(whole).mean_ap[0])


def common_sample(seeds: int = 4, patients: int = 30) -> PairSample:
    rng = np.random.default_rng(0)
    reference, other = rng.normal(0.5, 0.05, (2, seeds)).tolist()
    without = (
        (np.array(other) - reference)[:, None] + rng.normal(0, 0.01, patients) + rng.normal(0, 0.002, (seeds, patients))
    )
    moved = tuple(map(tuple, without.tolist()))
    return PairSample(tuple(reference), tuple(other), moved, NOTHING, (), 0.5, patients, patients, "")


def test_folds_on_common_patients_are_readers_and_share_training_patients() -> None:
    sample, runs = common_sample(), tuple("abcdefgh")
    plain = on_common_patients(sample, range(4), 0.0)
    (seeds,) = differences([FamilyPair(sample, runs[:4], runs[4:], (0, 1, 2, 3))])
    assert (plain.ap.value, plain.ap.low) == (pytest.approx(seeds.ap.value), pytest.approx(seeds.ap.low))
    assert (plain.folds, plain.freedom) == (4, pytest.approx(seeds.freedom))
    wide = on_common_patients(sample, range(4), 5 / 3)
    assert wide.variance_seeds is not None
    assert plain.variance_seeds is not None
    assert wide.variance_seeds - plain.variance_seeds == pytest.approx(5 / 3 * sample.differences.var(ddof=1))
    twice = on_common_patients(sample, [0, 0, 1, 1], 0.5)
    assert (twice.folds, twice.seeds) == (2, 2)
    assert twice.sd == pytest.approx(sample.differences.reshape(2, 2).mean(axis=1).std(ddof=1))
    one = on_common_patients(sample, [0] * 4, 0.5)
    assert (one.ap.value, math.isnan(one.ap.low)) == (pytest.approx(plain.ap.value), True)


def test_an_arm_over_folds_on_common_patients() -> None:
    detections, truth = sample_split(3, images=40)
    runs = [match(replace(detections, scores=detections.scores ** (1 + n / 5)), truth) for n in range(4)]
    plain = estimate(runs)
    assert estimate(runs, folds=range(4)) == plain
    wide = estimate(runs, folds=range(4), shared_training=5 / 3)
    assert wide.ap.value == plain.ap.value
    assert wide.ap.low <= plain.ap.low
    pairs = estimate(runs, folds=[0, 0, 1, 1])
    assert pairs.ap.value == pytest.approx(plain.ap.value)


@pytest.mark.slow
def test_learners_that_are_retrained_and_differ_by_nothing_are_seldom_told_apart() -> None:
    assert share(FoldWorld(folds=5, learner="neighbours"), 300).value <= 0.07
    assert share(FoldWorld(folds=3), 300).value <= 0.09
    assert share(FoldWorld(folds=5, corrected=False), 300).value > 0.05
    assert share(FoldWorld(folds=5, learner="fixed", outside=120), 60).value <= 0.07
