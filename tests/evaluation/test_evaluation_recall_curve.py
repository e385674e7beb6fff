"""Precision by recall: its mean is the AP, and it never rises."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.records import GroundTruth
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import RecallCurve, recall_curve
from mmad.evaluation.resampling import weigh


@examples(30)
@given(st.integers(0, 2**31), st.sampled_from(["iou", "iobb"]))
def test_the_mean_of_the_curve_is_the_ap(seed: int, overlap: str) -> None:
    found, truth = sample_split(seed)
    matched = match(found, truth, overlap=overlap)  # type: ignore[arg-type]
    curve = recall_curve(matched)
    ap = float(weigh(matched).mean_ap[0])
    if not curve.precision:
        assert np.isnan(ap)
        return
    assert np.mean(curve.precision) == pytest.approx(ap)
    assert len(curve.recall) == len(curve.precision) == 101
    assert np.all(np.diff(curve.precision) <= 1e-12)
    assert 0 <= min(curve.precision) <= max(curve.precision) <= 1


def test_without_a_true_box_there_is_no_curve() -> None:
    found, truth = sample_split(1)
    none = np.zeros(0, dtype=np.int64)
    empty = GroundTruth(truth.studies, truth.patients, truth.categories, none, np.zeros((0, 4)), none)
    assert recall_curve(match(found, empty)) == RecallCurve((), ())
