"""Intervals of one arm: patients left out as if they were not there, exact bounds near 0 and 1, coverage."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from coverage_worlds import WORLDS, beside, coverage
from evaluation_samples import sample_split, several, simulated
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.intervals import (
    LEAST_PATIENTS,
    Error,
    area_and_recall,
    estimate,
    mean_area,
    share_interval,
    without_each,
)
from mmad.evaluation.matching import Matched, match
from mmad.evaluation.resampling import mean_over_findings, weigh


def without_patient(found: Detections, truth: GroundTruth, patient: str) -> Matched:
    """The matches of everybody else."""
    kept = [n for n, name in enumerate(truth.patients) if name != patient]
    place = np.full(len(truth.studies), -1)
    place[kept] = np.arange(len(kept))
    mine, theirs = place[found.study] >= 0, place[truth.study] >= 0
    assert truth.ignore is not None
    names = tuple(truth.studies[n] for n in kept)
    return match(
        Detections(names, place[found.study[mine]], found.boxes[mine], found.scores[mine], found.labels[mine]),
        GroundTruth(
            names, tuple(truth.patients[n] for n in kept), truth.categories, place[truth.study[theirs]],
            truth.boxes[theirs], truth.labels[theirs], truth.ignore[theirs],
        ),
    )  # fmt: skip


@examples(13)
@given(st.integers(0, 2**31))
def test_a_patient_left_out_is_a_patient_who_is_not_there(seed: int) -> None:
    found, truth = sample_split(seed, images=12, patients=5)
    matched = match(found, truth)
    drawn = without_each(matched, lambda weights: weigh(matched, weights).ap)
    everybody = weigh(matched).ap[0]
    assert drawn[0] == pytest.approx(everybody, nan_ok=True)
    for row, patient in zip(drawn[1:], sorted(set(truth.patients)), strict=True):
        alone = weigh(without_patient(found, truth, patient)).ap[0]
        # what cannot be measured any more keeps its value
        assert row == pytest.approx(np.where(np.isnan(alone), everybody, alone), nan_ok=True)


@examples(13)
@given(st.integers(0, 2**31))
def test_the_area_lies_within_a_hundredth_of_the_ap_that_is_read_off_the_same_curve(seed: int) -> None:
    matched = match(*simulated(seed, 200))
    area, recall = area_and_recall(matched, 0, np.ones((1, 200)))[0]
    assert area == pytest.approx(weigh(matched).ap[0, 0], abs=0.011)
    assert recall == weigh(matched).ar[0, 0]
    assert mean_area(matched)[0] == pytest.approx(area)


def test_many_patients_are_left_out_in_groups() -> None:
    matched = match(*simulated(0, 1500))
    assert len(mean_area(matched)) == 1001
    found = estimate([matched]).ap
    assert found.low < found.value < found.high


SURE = Error(0.0, math.inf)


@pytest.mark.parametrize(
    ("right", "cases", "low", "high"),
    [(190, 200, 0.9099724623, 0.9757658345), (4, 200, 0.0054755659, 0.0504136091)],
)
def test_near_0_and_1_the_bounds_are_those_of_clopper_and_pearson(
    right: int, cases: int, low: float, high: float
) -> None:
    share = right / cases
    found = share_interval(share, Error(share * (1 - share) / cases, math.inf), cases, cases)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_where_all_patients_agree_the_bounds_are_of_so_many_patients() -> None:
    none, every = share_interval(0.0, SURE, 30, 900), share_interval(1.0, SURE, 30, 900)
    assert (none.low, none.high) == (0, pytest.approx(0.11570331, abs=1e-6))
    assert (every.low, every.high) == (pytest.approx(1 - 0.11570331, abs=1e-6), 1)


def test_in_between_it_is_the_logit_with_t() -> None:
    found = share_interval(0.5, Error(0.01, 12), 13, 40)
    reach = 2.178813 * 0.1 / 0.25
    assert (found.low, found.high) == pytest.approx((1 / (1 + math.exp(reach)), 1 / (1 + math.exp(-reach))), abs=1e-6)


def test_too_few_patients_have_no_interval_and_say_how_many() -> None:
    few = estimate([match(*simulated(0, LEAST_PATIENTS - 1))]).ap
    assert few.patients == LEAST_PATIENTS - 1
    assert math.isnan(few.low)
    assert not math.isnan(few.value)
    enough = estimate([match(*simulated(0, LEAST_PATIENTS))]).ap
    assert not math.isnan(enough.low)


def test_a_finding_of_one_patient_stays_in_the_mean_and_widens_it() -> None:
    rng = np.random.default_rng(3)
    common = [WORLDS["0.64"].draw(rng, 60, 1) for _ in range(2)]
    rare = replace(WORLDS["0.64"], share=0.02).draw(rng, 60, 1)
    two, three = estimate([beside(common)]), estimate([beside([*common, rare])])
    label, ap, _ = three.per_class[2]
    assert (label, ap.patients) == ("C", int(rare.boxes.sum()))
    assert math.isnan(ap.low)
    assert three.ap.high - three.ap.low > 1.3 * (two.ap.high - two.ap.low)
    areas = mean_area(beside([*common, rare]))
    assert not np.isnan(areas).any()
    assert areas[0] == pytest.approx(mean_over_findings(weigh(beside([*common, rare])).ap)[0], abs=0.011)


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = [match(*several(0, 100, seeds=1, spread=0.0, arm=1)[0])] * 3
    apart = [match(*one) for one in several(0, 100, seeds=3, spread=0.3, arm=1)]
    narrow, wide = estimate(alike), estimate(apart)
    assert wide.ap.high - wide.ap.low > 1.5 * (narrow.ap.high - narrow.ap.low)
    assert narrow.sd == 0
    assert estimate(alike[:1]).sd is None
    with pytest.raises(EvaluationError, match="no run to evaluate"):
        estimate([])


CELLS = [(20, 1, 0.5), (20, 10, 0.5), (50, 1, 0.5), (50, 10, 0.04), (100, 1, 0.5), (100, 10, 0.04)]


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "images", "share"), CELLS)
@pytest.mark.parametrize("ap", WORLDS)
def test_the_interval_covers(ap: str, patients: int, images: int, share: float) -> None:
    """The bounds of the table in benchmarks/RESULTS.md (2,000 repeats), by fewer of them and their standard error."""
    found = coverage(replace(WORLDS[ap], share=share), patients, images, 300)
    error = math.sqrt(0.05 * 0.95 / found.intervals)
    assert found.share >= 0.92 - error
    if patients == 100 and float(ap) < 0.9:
        assert found.share <= 0.98 + error


@pytest.mark.slow
@pytest.mark.parametrize("ap", ["0.33", "0.64", "0.90"])
def test_the_interval_covers_where_the_images_of_a_patient_are_alike(ap: str) -> None:
    found = coverage(replace(WORLDS[ap], alike=0.6), 50, 10, 200)
    assert found.share >= 0.92 - 0.015
