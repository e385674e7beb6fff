"""Intervals of operating points and of FROC: their figures are the plain ones, and they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_samples import sample_split, simulated
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import (
    FROC_RATES,
    froc,
    froc_curve,
    froc_intervals,
    gaps,
    operating_intervals,
    operating_points,
)
from mmad.evaluation.resampling import patient_weights

SCORES = (0.05, 0.3, 0.6)


@examples(13)
@given(st.integers(0, 2**31))
def test_the_figures_are_the_plain_ones_and_lie_in_order(seed: int) -> None:
    matched = match(*sample_split(seed, images=10))
    rows, bands = operating_points(matched, SCORES), operating_intervals(matched, SCORES)
    for row, gap, band in zip(rows, gaps(rows), bands, strict=True):
        found = (band.ap, band.ar, band.precision, band.recall, band.f1, band.gap)
        plain = (row.ap, row.ar, row.precision, row.recall, row.f1, gap)
        assert [f.value for f in found] == pytest.approx(plain, abs=1e-12, nan_ok=True)
        assert all(not f.low > f.high for f in found)
    plain_froc, band = froc(matched), froc_intervals(matched)
    assert band.score.value == pytest.approx(plain_froc.score, nan_ok=True)
    assert [s.value for s in band.sensitivity] == pytest.approx(plain_froc.sensitivity, nan_ok=True)
    assert [(f.label, f.score.value) for f in band.per_class] == [
        (label, pytest.approx(score, nan_ok=True)) for label, score in plain_froc.per_class
    ]


def repeated(found: Detections, truth: GroundTruth, times: list[int]) -> tuple[Detections, GroundTruth]:
    """Every image as often as ``times`` says, each under a name of its own."""
    order = np.repeat(np.arange(len(times)), times)
    names = tuple(f"r{n}" for n in range(len(order)))

    def rows(study: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picked = [np.flatnonzero(study == image) for image in order]
        return np.concatenate(picked), np.repeat(np.arange(len(order)), [len(p) for p in picked])

    (mine, owner), (given_rows, given_owner) = rows(found.study), rows(truth.study)
    assert truth.ignore is not None
    return (
        Detections(names, owner, found.boxes[mine], found.scores[mine], found.labels[mine]),
        GroundTruth(
            names, names, truth.categories, given_owner,
            truth.boxes[given_rows], truth.labels[given_rows], truth.ignore[given_rows],
        ),
    )  # fmt: skip


@examples(13)
@given(st.integers(0, 2**31))
def test_a_weight_is_an_image_that_stands_there_as_often(seed: int) -> None:
    found, truth = sample_split(seed, images=8)
    apart = np.random.default_rng(seed).permutation(len(found.scores)) / 1000  # among ties copies would mix
    found = Detections(found.studies, found.study, found.boxes, apart, found.labels)
    weights = patient_weights(truth.patients, 1, seed)
    again = froc(match(*repeated(found, truth, weights[0].astype(int).tolist())))
    drawn = froc_curve(match(found, truth), weights, None)[0]
    assert drawn == pytest.approx(np.array(again.sensitivity), abs=1e-12, nan_ok=True)


def test_what_cannot_be_measured_has_no_interval() -> None:
    found, truth = sample_split(3, images=20)
    nothing = Detections(found.studies, *(getattr(found, n)[:0] for n in ("study", "boxes", "scores", "labels")))
    band = operating_intervals(match(nothing, truth), (0.5,))[0]
    assert math.isnan(band.precision.value)
    assert math.isnan(band.precision.low)
    people = band.recall.patients
    assert people is not None
    assert (band.recall.value, band.recall.low) == (0, 0)
    assert band.recall.high == pytest.approx(1 - 0.025 ** (1 / people))  # none of so many patients
    assert 0 < froc_intervals(match(nothing, truth)).score.high < 0.25
    with pytest.raises(EvaluationError, match=r"0\.05,0\.1,0\.3"):
        operating_intervals(match(found, truth), (2.0,))


def test_a_rate_that_falls_on_an_alarm_makes_no_interval_wide() -> None:
    """One eighth of 40 images is five alarms: with any patient less it would be four."""
    found = [froc_intervals(match(*simulated(seed, 40))).sensitivity[0] for seed in range(60)]
    widths = np.array([one.high - one.low for one in found])
    spread = 2 * 1.96 * np.std([one.value for one in found])
    assert np.median(widths) == pytest.approx(spread, rel=0.15)
    assert np.quantile(widths, 0.95) < 1.5 * spread


@pytest.mark.slow
def test_the_intervals_cover() -> None:
    many = match(*simulated(10**6, 100_000))
    (known,), known_froc = operating_points(many, (0.4,)), froc(many)
    names = ("precision", "recall", "f1")
    rates = [FROC_RATES.index(rate) for rate in (0.125, 0.25)]  # beyond half a false alarm per image all is found
    inside = dict.fromkeys([*names, "score", *rates], 0)
    for i in range(500):
        matched = match(*simulated(i, 150))
        (point,), band = (
            operating_intervals(matched, (0.4,)),
            froc_intervals(matched),
        )
        for name in names:
            within = getattr(point, name)
            inside[name] += within.low <= getattr(known, name) <= within.high
        inside["score"] += band.score.low <= known_froc.score <= band.score.high
        for n in rates:
            inside[n] += band.sensitivity[n].low <= known_froc.sensitivity[n] <= band.sensitivity[n].high
    assert all(0.92 <= count / 500 <= 0.985 for count in inside.values()), inside
