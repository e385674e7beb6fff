"""Weighting an image is the same as repeating it."""

from __future__ import annotations

import numpy as np
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import evaluate
from mmad.evaluation.matching import match
from mmad.evaluation.resampling import patient_weights, weigh


def repeated(found: Detections, truth: GroundTruth, times: list[int]) -> tuple[Detections, GroundTruth]:
    """Every image as often as ``times`` says, under names of its own."""
    order = [i for i, n in enumerate(times) for _ in range(n)]
    studies = tuple(f"{truth.studies[i]}-{j}" for j, i in enumerate(order))
    rows = [np.flatnonzero(found.study == i) for i in order]
    gives = [np.flatnonzero(truth.study == i) for i in order]
    row, give = np.concatenate(rows), np.concatenate(gives)
    at = np.repeat(np.arange(len(order)), [len(r) for r in rows])
    there = np.repeat(np.arange(len(order)), [len(g) for g in gives])
    return (
        Detections(studies, at, found.boxes[row], found.scores[row], found.labels[row]),
        GroundTruth(
            studies, studies, truth.categories, there, truth.boxes[give], truth.labels[give], truth.ignore[give]
        ),
    )


@examples(30)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(any))
def test_a_weight_is_a_repetition(seed: int, times: list[int]) -> None:
    found, truth = sample_split(seed, images=8, per_image=6)
    distinct = np.random.default_rng(seed).permutation(len(found.scores)) / max(1, len(found.scores))
    found = Detections(
        found.studies, found.study, found.boxes, distinct, found.labels
    )  # ties have no order of their own
    expected = evaluate(*repeated(found, truth, times))
    weighted = weigh(match(found, truth), np.array([times]))
    assert np.allclose(weighted.mean_ap, [expected.ap], atol=1e-12, equal_nan=True)
    assert np.allclose(weighted.mean_ar, [expected.ar], atol=1e-12, equal_nan=True)


def test_images_of_one_patient_are_drawn_together() -> None:
    weights = patient_weights(("a", "b", "a", "c"), 200, seed=0)
    assert weights.shape == (200, 4)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert not np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], np.full(200, 3))
    assert np.array_equal(weights, patient_weights(("a", "b", "a", "c"), 200, seed=0))
