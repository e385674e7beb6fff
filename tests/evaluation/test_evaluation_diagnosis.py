"""Images and patients classified, wAFROC, a score fixed on another split, calibration of an image's score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coverage_worlds import WORLDS, beside
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.evaluation.diagnosis import (
    ANY,
    chance_above,
    counts_at,
    detected,
    score_allowing,
    score_calibration,
    wafroc,
)
from mmad.evaluation.intervals import groups_of
from mmad.evaluation.matching import Matched, match
from mmad.evaluation.operating_points import above

NONE = -math.inf


def test_the_published_areas_of_a_reader() -> None:
    """The small example of the RJafroc FROC book (CC0): four normal and five diseased cases with unequal weights.

    AFROC 0.8472222 and wAFROC 0.7425 are printed there; the others follow from its definitions.
    """
    normal, diseased = np.array([NONE, 0.5, 0.7, -0.3]), np.array([1.5, NONE, NONE, NONE, NONE])
    boxes = np.array([0.9, -0.2, 1.6, NONE, 3.0, 2.0, 1.0, 2.5, 1.0])
    weight = np.array([1.0, 1.0, 0.1, 0.9, 0.9, 0.1, 0.3, 0.4, 0.3])
    case = np.array([5, 6, 7, 7, 8, 8, 9, 9, 9]) - 1

    def area(below: np.ndarray, weights: np.ndarray) -> float:
        return float(chance_above(below, np.arange(len(below)), boxes, weights, case, np.arange(9))[0])

    every = np.r_[normal, diseased]
    assert area(normal, weight) == pytest.approx(0.7425)
    assert area(normal, np.ones(9)) == pytest.approx(0.8472222, abs=1e-7)
    assert area(every, weight) == pytest.approx(0.7677778, abs=1e-7)
    assert area(every, np.ones(9)) == pytest.approx(0.8456790, abs=1e-7)
    highest = np.array([1.5, -0.2, 1.6, 3.0, 2.5])
    inferred = chance_above(normal, np.arange(4), highest, np.ones(5), np.arange(4, 9), np.arange(9))
    assert inferred[0] == pytest.approx(0.9)


def pairs(matched: Matched, k: int) -> tuple[list[float], list[float]]:
    """Highest scores of images without and with finding ``k``, by plain loops."""
    sides: tuple[list[float], list[float]] = ([], [])
    for image in range(len(matched.patients)):
        mine = (matched.finding == k) & (matched.image == image) & matched.counted[0]
        sides[int(matched.boxes[image, k] > 0)].append(max(matched.score[mine], default=NONE))
    return sides


@examples(15)
@given(st.integers(0, 2**31))
def test_auroc_is_the_share_of_pairs_in_order(seed: int) -> None:
    matched = match(*sample_split(seed, images=25, boxes=0.8, patients=12))
    for k, found in enumerate(detected(matched, 0.5)[1:]):
        without, having = pairs(matched, k)
        assert (found.positives, found.negatives) == (len(having), len(without))
        if without and having:
            wins = [(h > w) + 0.5 * (h == w) for h in having for w in without]
            assert found.auroc.value == pytest.approx(np.mean(wins))
            assert found.sensitivity.value == pytest.approx(np.mean([h >= 0.5 for h in having]))
            assert found.specificity.value == pytest.approx(np.mean([w < 0.5 for w in without]))
        else:
            assert math.isnan(found.auroc.value)


@examples(15)
@given(st.integers(0, 2**31))
def test_wafroc_is_the_chance_that_a_box_beats_the_false_positives_of_an_image_without(seed: int) -> None:
    matched = match(*sample_split(seed, images=20, boxes=0.8, crowd=0))
    for k, found in enumerate(wafroc(matched)):
        part = matched.of(k)
        image, score, hit = matched.image[part], matched.score[part], matched.hit[0, part]
        highest = [max(score[(image == i) & ~hit], default=NONE) for i in range(20)]
        boxes = matched.boxes[:, k]
        total = []
        for i in np.flatnonzero(boxes):
            rated = list(score[(image == i) & hit])
            rated += [NONE] * int(boxes[i] - len(rated))
            negatives = [highest[j] for j in range(20) if boxes[j] == 0]
            total.append(np.mean([(r > n) + 0.5 * (r == n) for r in rated for n in negatives]) if negatives else 0)
        if len(total) and (boxes == 0).any():
            assert found.name == "wAFROC"
            assert found.value.value == pytest.approx(np.mean(total))


def test_without_an_image_that_lacks_the_finding_it_is_wafroc1_by_name() -> None:
    found, truth = sample_split(3, images=12, boxes=6.0, crowd=0, findings=1)
    assert len(np.unique(truth.study)) == 12
    (merit,) = wafroc(match(found, truth))
    assert merit.name == "wAFROC1"
    assert 0 < merit.value.value < 1


@examples(15)
@given(st.integers(0, 2**31))
def test_leaving_a_group_out_is_as_if_it_were_not_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.arange(6)
    low, high = rng.integers(0, 4, 8).astype(float), rng.integers(0, 4, 9).astype(float)
    of_low, of_high, weight = rng.integers(0, 6, 8), rng.integers(0, 6, 9), rng.random(9) + 0.1
    found = chance_above(low, of_low, high, weight, of_high, groups)

    def plain(left: np.ndarray, right: np.ndarray) -> float:
        wins = (high[right] > low[left, None]) + 0.5 * (high[right] == low[left, None])
        return float((wins * weight[right]).sum() / (len(low[left]) * weight[right].sum()))

    every = np.ones(8, bool), np.ones(9, bool)
    assert found[0] == pytest.approx(plain(*every))
    for group in range(6):
        left, right = of_low != group, of_high != group
        if left.any() and right.any():
            assert found[1 + group] == pytest.approx(plain(left, right))


def test_the_lowest_score_that_the_rule_allows() -> None:
    matched = match(*sample_split(1, images=40))
    for rate in (0.0, 0.1, 0.5, 1.0, 50.0):
        score = score_allowing(matched, rate)
        kept = above(matched, score)
        assert (kept.counted[0] & ~kept.hit[0]).sum() <= rate * 40
        lower = np.unique(matched.score)[np.unique(matched.score) < score]
        if len(lower):
            more = above(matched, lower[-1])
            assert (more.counted[0] & ~more.hit[0]).sum() > rate * 40


@examples(10)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_every_box_is_found_or_missed(seed: int, score: float) -> None:
    matched = match(*sample_split(seed))
    for k, found in enumerate(counts_at(matched, score)):
        assert found.true_positives + found.false_negatives == matched.boxes[:, k].sum()
        kept = matched.score[matched.of(k)] >= score
        assert found.true_positives + found.false_positives == (kept & matched.counted[0, matched.of(k)]).sum()


def test_by_patient_one_image_is_enough() -> None:
    matched = match(*sample_split(2, images=30, boxes=0.7, patients=15))
    images, patients = detected(matched, 0.4), detected(matched, 0.4, by_patient=True)
    assert images[0].label == patients[0].label == ANY
    owner = groups_of(matched.patients)
    for k in range(len(matched.categories)):
        positive = len(set(owner[matched.boxes[:, k] > 0]))
        assert (patients[1 + k].positives, patients[1 + k].negatives) == (positive, 15 - positive)
    assert math.isnan(detected(matched, None)[0].sensitivity.value)


@pytest.mark.slow
def test_scores_that_are_chances_have_intercept_0_and_slope_1() -> None:
    rng = np.random.default_rng(0)
    images = 1500
    chance = rng.uniform(0.05, 0.95, images)
    there = rng.random(images) < chance
    order = np.argsort(-chance, kind="stable")
    matched = Matched(
        thresholds=np.array([0.5]),
        row=np.arange(images),
        image=order,
        finding=np.zeros(images, dtype=int),
        score=chance[order],
        true=np.where(there[order], 0, -1)[None],
        ignored=np.zeros((1, images), dtype=bool),
        boxes=there[:, None].astype(np.int64),
        patients=tuple(map(str, range(images))),
        categories=("A",),
    )
    (found,) = score_calibration(matched)
    assert found.intercept.low < 0 < found.intercept.high
    assert found.slope.low < 1 < found.slope.high
    assert found.brier.value == pytest.approx(np.mean((chance - there) ** 2))
    assert found.reliability.error < 0.03


def test_a_finding_that_every_image_has_or_none_has_no_calibration_line() -> None:
    matched = beside([WORLDS["0.64"].draw(np.random.default_rng(0), 30, 1)])
    full = Matched(**{**vars(matched), "boxes": np.ones_like(matched.boxes)})
    (found,) = score_calibration(full)
    assert math.isnan(found.slope.value)
