"""Score thresholds, FROC, confusion, calibration and agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.agreement import agreement, most_different
from mmad.evaluation.coco import evaluate
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import FROC_RATES, at_least, calibration, confusion, froc, gaps, operating_points

STUDIES = ("s0", "s1", "s2", "s3")


def by_hand() -> tuple[Detections, GroundTruth]:
    """Two boxes of A and one of B; a hit 0.9, a wrong name 0.8, a false alarm 0.4, a hit 0.2."""
    box = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 40]])
    truth = GroundTruth(STUDIES, STUDIES, ("A", "B"), np.array([0, 1, 2]), box, np.array([1, 1, 2]))
    found = np.array([[0.0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60], [0, 0, 10, 9]])
    return Detections(
        STUDIES, np.array([0, 2, 3, 1]), found, np.array([0.9, 0.8, 0.4, 0.2]), np.array([1, 1, 1, 1])
    ), truth


@examples(20)
@given(st.integers(0, 2**31), st.sampled_from(["iou", "iobb"]))
def test_one_matching_serves_every_score_threshold(seed: int, overlap: str) -> None:
    found, truth = sample_split(seed, images=8, per_image=8)
    matched = match(found, truth, overlap=overlap)
    for row in operating_points(matched, (0.0, 0.25, 0.5, 0.95)):
        expected = evaluate(at_least(found, row.score), truth, overlap=overlap)
        assert row.ap == pytest.approx(expected.ap, abs=1e-12, nan_ok=True)
        assert row.ar == pytest.approx(expected.ar, abs=1e-12, nan_ok=True)


def test_operating_points_by_hand() -> None:
    rows = operating_points(match(*by_hand()), (0.05, 0.3, 0.95))
    assert [row.precision for row in rows[:2]] == [0.5, pytest.approx(1 / 3)]
    assert [row.recall for row in rows[:2]] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert rows[0].f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert rows[0].per_image == 1
    assert math.isnan(rows[2].precision)
    assert rows[2].f1 == 0  # it finds nothing of what is there
    assert gaps(rows)[0] == 0
    assert gaps(rows)[1] == pytest.approx(rows[1].ap - rows[0].ap)
    with pytest.raises(EvaluationError, match=r"0\.05,0\.1,0\.3"):
        operating_points(match(*by_hand()), (1.5,))


def test_froc_by_hand() -> None:
    found = froc(match(*by_hand()))
    # false alarms per image: 0 up to the first, 0.25 from 0.8 on, 0.5 from 0.4 on
    assert found.rates == FROC_RATES
    assert found.sensitivity == pytest.approx([1 / 3, 1 / 3, *[2 / 3] * 5])
    assert dict(found.per_class)["B"] == 0
    assert found.score == pytest.approx(np.mean(found.sensitivity))


def test_detections_of_one_score_come_together_or_not_at_all() -> None:
    """Three of 0.5 and one of them right: at 2 of 3 alarms per image nothing can be cut out."""
    box = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [50, 50, 60, 60]])
    for right in range(3):
        truth = GroundTruth(STUDIES[:3], STUDIES[:3], ("A",), np.array([right]), box[:1], np.array([1]))
        place = np.roll(np.arange(3), -right)
        found = Detections(STUDIES[:3], place, box, np.full(3, 0.5), np.ones(3, dtype=int))
        assert froc(match(found, truth)).sensitivity == (0, 0, 0, 1, 1, 1, 1)


@examples(20)
@given(st.integers(0, 2**31))
def test_the_order_of_the_studies_changes_no_froc(seed: int) -> None:
    found, truth = sample_split(seed, crowd=0)
    order = np.random.default_rng(seed).permutation(len(truth.studies))
    place = np.argsort(order)
    names = tuple(truth.studies[i] for i in order)
    moved = GroundTruth(names, names, truth.categories, place[truth.study], truth.boxes, truth.labels)
    one, other = froc(match(found, truth)), froc(match(found, moved))
    assert other.sensitivity == pytest.approx(one.sensitivity, nan_ok=True)
    assert [v for _, v in other.per_class] == pytest.approx([v for _, v in one.per_class], nan_ok=True)


@examples(15)
@given(st.integers(0, 2**31))
def test_sensitivity_never_falls_with_more_false_alarms(seed: int) -> None:
    found = froc(match(*sample_split(seed)))
    assert all(a <= b + 1e-12 for a, b in zip(found.sensitivity, found.sensitivity[1:], strict=False))


def test_the_confusion_matrix_by_hand() -> None:
    found = confusion(*by_hand(), score=0.3)
    assert found.labels == ("A", "B")
    assert found.counts.tolist() == [[1, 0, 1], [1, 0, 0], [1, 0, 0]]


def test_a_faultless_detector_gives_a_diagonal_even_where_two_findings_share_a_place() -> None:
    box = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 40]])
    truth = GroundTruth(STUDIES[:1], STUDIES[:1], ("A", "B"), np.zeros(3, dtype=int), box, np.array([1, 2, 2]))
    exact = Detections(STUDIES[:1], truth.study, box, np.array([0.9, 0.9, 0.8]), truth.labels)
    assert confusion(exact, truth).counts.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_the_matrix_counts_as_many_detections_of_each_finding_as_ap_does() -> None:
    count = 15  # three boxes of each of five findings
    corner = np.arange(count)[:, None] * [20.0, 0]
    box, labels = np.concatenate([corner, corner + 10], axis=1), np.arange(count) % 5 + 1
    truth = GroundTruth(STUDIES[:1], STUDIES[:1], tuple("ABCDE"), np.zeros(count, dtype=int), box, labels)
    exact = Detections(STUDIES[:1], truth.study, box, np.full(count, 0.9), labels)
    assert np.trace(confusion(exact, truth, max_detections=10).counts) == count
    assert np.trace(confusion(exact, truth, max_detections=2).counts) == 10


@examples(20)
@given(st.integers(0, 2**31), st.sampled_from(["iou", "iobb"]), st.integers(1, 5), st.sampled_from([0.0, 0.4]))
def test_the_matrix_has_the_hits_misses_and_alarms_of_ap(seed: int, overlap: str, most: int, score: float) -> None:
    found, truth = sample_split(seed, per_image=8)
    matched = match(at_least(found, score), truth, overlap=overlap, max_detections=most)
    counts = confusion(found, truth, score=score, overlap=overlap, max_detections=most).counts
    for k in range(len(truth.categories)):
        hits, counted = (flags[0, matched.of(k)].sum() for flags in (matched.hit, matched.counted))
        assert counts[k, k] == hits
        assert counts[k].sum() == matched.boxes[:, k].sum()
        assert counts[:, k].sum() == counted


@examples(15)
@given(st.integers(0, 2**31))
def test_every_box_and_every_detection_is_in_the_matrix_once(seed: int) -> None:
    found, truth = sample_split(seed, crowd=0, per_image=6)
    counts = confusion(found, truth, score=0.0).counts
    assert counts[:-1].sum() == len(truth.labels)
    assert counts[:, :-1].sum() == len(found.labels)


def test_calibration() -> None:
    scores = np.array([0.05, 0.95, 0.95, 0.95, 1.0])
    found = calibration(scores, np.array([False, True, True, True, False]))
    assert found.count == (1, 0, 0, 0, 0, 0, 0, 0, 0, 4)
    assert found.hits[9] == 0.75
    assert found.error == pytest.approx((0.05 + 4 * abs(0.9625 - 0.75)) / 5)
    assert math.isnan(calibration(np.zeros(0), np.zeros(0, dtype=bool)).error)


def test_a_run_agrees_with_itself_and_not_with_another() -> None:
    one, truth = sample_split(5, images=20)
    labels = truth.categories
    assert all(s.first == s.second == 0 and s.agreement == 1 for s in agreement(one, one, labels, score=0.0))
    other, _ = sample_split(6, images=20)
    found = agreement(one, other, labels, score=0.0)
    assert sum(s.both + s.first for s in found) == len(one.labels)
    assert sum(s.both + s.second for s in found) == len(other.labels)
    with pytest.raises(EvaluationError, match="other studies"):
        agreement(one, sample_split(5, images=19)[0], labels)


def test_the_studies_that_differ_most() -> None:
    found, truth = by_hand()
    none = at_least(found, 1.0)
    assert most_different(none, found, truth, score=0.1) == (("s0", 1), ("s1", 1), ("s2", -1), ("s3", -1))
    assert most_different(found, found, truth) == ()
