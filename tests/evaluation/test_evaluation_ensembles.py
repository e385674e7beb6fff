"""Weighted box fusion, against the authors' package."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections
from mmad.evaluation import ensembles
from mmad.evaluation.ensembles import fused

SIDE = 100.0


def networks(seed: int, count: int) -> list[Detections]:
    """Several networks on the same images: their boxes lie beside one another, and no scores tie."""
    rng, found = np.random.default_rng(seed), []
    base, _ = sample_split(seed, images=6, per_image=6)
    for _ in range(count):
        keep = np.flatnonzero(rng.random(len(base.scores)) < 0.8)
        boxes = np.clip(base.boxes[keep] + rng.uniform(-3, 3, (len(keep), 4)), 0, SIDE)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        found.append(Detections(base.studies, base.study[keep], boxes, rng.random(len(keep)), base.labels[keep]))
    return found


def theirs(found: list[Detections]) -> list[tuple[float, ...]]:
    """What ensemble-boxes makes of each image: study, label, score and corners, which it holds in single precision."""
    from ensemble_boxes import weighted_boxes_fusion

    rows = []
    for study in range(len(found[0].studies)):
        of = [np.flatnonzero(one.study == study) for one in found]
        parts = [[getattr(one, name)[rows] for one, rows in zip(found, of, strict=True)] for name in _PARTS]
        boxes, scores, labels = weighted_boxes_fusion([boxes / SIDE for boxes in parts[0]], *parts[1:])
        rows += [(study, label, score, *box) for box, score, label in zip(boxes * SIDE, scores, labels, strict=True)]
    return sorted(rows)


_PARTS = ("boxes", "scores", "labels")


@examples(10)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_boxes_are_fused_as_the_authors_package_fuses_them(seed: int, count: int) -> None:
    found = networks(seed, count)
    made = fused(found)
    mine = sorted(zip(made.study, made.labels, made.scores, *made.boxes.T, strict=True))
    expected = theirs(found)
    assert len(mine) == len(expected)
    assert np.allclose(np.array(mine).reshape(-1, 7), np.array(expected).reshape(-1, 7), atol=1e-3)
    assert made.masks is None


def test_a_box_of_one_network_counts_less_and_groups_that_are_held_apart_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    studies, one = ("a", "b"), np.array([[10.0, 10, 30, 30]])
    first = Detections(studies, np.array([0]), one, np.array([0.9]), np.array([1]))
    second = Detections(studies, np.array([0, 1]), np.repeat(one, 2, axis=0), np.array([0.5, 0.6]), np.array([1, 1]))
    made = fused([first, second])
    assert made.study.tolist() == [0, 1]
    assert made.boxes == pytest.approx(np.repeat(one, 2, axis=0))
    assert made.scores.tolist() == pytest.approx([0.7, 0.3])
    none = np.zeros(0, dtype=np.int64)
    nothing = Detections(studies, none, np.zeros((0, 4)), np.zeros(0), none)
    assert len(fused([nothing, nothing]).scores) == 0
    whole = fused(networks(1, 3))
    monkeypatch.setattr(ensembles, "_CELLS", 1)
    apart = fused(networks(1, 3))
    assert all(np.array_equal(getattr(whole, name), getattr(apart, name)) for name in ("study", *_PARTS))


def test_networks_of_other_studies_are_refused() -> None:
    first, second = networks(0, 2)
    with pytest.raises(EvaluationError, match="saw other studies"):
        fused([first, replace(second, studies=("z", *second.studies[1:]))])
