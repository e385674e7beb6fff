"""The matching of everything at once against pycocotools' image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.evaluation.coco import evaluate
from mmad.evaluation.matching import match
from mmad.evaluation.resampling import weigh


@pytest.mark.slow
@examples(75)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["iou", "iobb"]),
    st.sampled_from([0.1, 0.5, 0.75, 1.0]),
    st.sampled_from([1, 2, 10]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1, 3]),
)
def test_ap_and_ar_equal_pycocotools(
    seed: int, overlap: str, threshold: float, most: int, crowd: float, findings: int
) -> None:
    found, truth = sample_split(seed, crowd=crowd, findings=findings, images=6, per_image=8, boxes=3)
    expected = evaluate(found, truth, overlap=overlap, threshold=threshold, max_detections=most)
    weighted = weigh(match(found, truth, overlap=overlap, thresholds=[threshold], max_detections=most))
    for k, score in enumerate(expected.per_class):
        for mine, theirs in ((weighted.ap[0, k], score.ap), (weighted.ar[0, k], score.ar)):
            assert np.isnan(mine) if theirs is None else abs(mine - theirs) < 1e-12
    if not np.isnan(expected.ap):
        assert abs(weighted.mean_ap[0] - expected.ap) < 1e-12
        assert abs(weighted.mean_ar[0] - expected.ar) < 1e-12


def test_many_thresholds_equal_one_at_a_time() -> None:
    found, truth = sample_split(1, images=30)
    several = match(found, truth, thresholds=[0.3, 0.5, 0.9])
    for t, threshold in enumerate((0.3, 0.5, 0.9)):
        alone = match(found, truth, thresholds=[threshold])
        assert np.array_equal(several.true[t], alone.true[0])
        assert np.array_equal(several.ignored[t], alone.ignored[0])


@pytest.mark.parametrize("nothing", ["detections", "boxes", "both"])
def test_nothing_found_and_nothing_there(nothing: str) -> None:
    found, truth = sample_split(2)
    none = np.zeros(0, dtype=np.int64)
    if nothing != "boxes":
        found = replace(found, study=none, boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=none)
    if nothing != "detections":
        truth = replace(truth, study=none, boxes=np.zeros((0, 4)), labels=none, ignore=None)
    expected, mine = evaluate(found, truth), weigh(match(found, truth))
    assert np.array_equal(mine.mean_ap, [expected.ap], equal_nan=True)
    assert np.array_equal(mine.mean_ar, [expected.ar], equal_nan=True)


def test_areas_outside_a_range_are_ignored() -> None:
    found, truth = sample_split(3, images=20, crowd=0)
    area = (truth.boxes[:, 2] - truth.boxes[:, 0]) * (truth.boxes[:, 3] - truth.boxes[:, 1])
    matched = match(found, truth, area=(0, 300))
    assert matched.boxes.sum() == (area <= 300).sum()
    assert all(area[row] <= 300 for row in matched.true[0][matched.hit[0]])


def test_scores_that_are_not_finite_are_refused_by_study() -> None:
    found, truth = sample_split(4)
    scores = found.scores.copy()
    scores[0] = np.nan
    with pytest.raises(EvaluationError, match=f"first in study '{found.studies[found.study[0]]}'"):
        match(replace(found, scores=scores), truth)
    with pytest.raises(EvaluationError, match="threshold = 0"):
        match(found, truth, thresholds=[0.0])
