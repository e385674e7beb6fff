"""The drop after an alteration: paired on the same resamples, the mean of its repeats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample_split

from mmad.base.errors import EvaluationError
from mmad.evaluation.agreement import drop
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import at_least
from mmad.evaluation.resampling import weigh


def test_what_changes_nothing_costs_nothing() -> None:
    matched = match(*sample_split(0))
    found = drop(matched, [matched, matched], resamples=50)
    assert (found.ap.value, found.ap.low, found.ap.high) == (0.0, 0.0, 0.0)
    assert found.repeats == 2
    assert found.before == found.after == float(weigh(matched).mean_ap[0])


def test_without_detections_all_of_the_ap_is_lost() -> None:
    detections, truth = sample_split(1, images=40)
    original, nothing = match(detections, truth), match(at_least(detections, 2.0), truth)
    found = drop(original, [nothing], resamples=200)
    assert found.after == 0
    assert found.ap.value == found.before > 0
    assert 0 < found.ap.low < found.ap.value < found.ap.high
    assert [label for label, _ in found.per_class] == ["A", "B", "C"]
    assert found.ap.value == pytest.approx(np.mean([ap.value for _, ap in found.per_class]))


def test_it_is_the_mean_over_the_repeats() -> None:
    detections, truth = sample_split(2, images=40)
    original, weaker = match(detections, truth), match(at_least(detections, 0.5), truth)
    one = drop(original, [weaker], resamples=50)
    half = drop(original, [original, weaker], resamples=50)
    assert half.ap.value == pytest.approx(one.ap.value / 2)
    assert half.ap.high == pytest.approx(one.ap.high / 2)


def test_no_repeat_and_other_images_are_refused() -> None:
    detections, truth = sample_split(0)
    matched = match(detections, truth)
    other = match(detections, replace(truth, patients=tuple(reversed(truth.patients))))
    for altered in ([], [other]):
        with pytest.raises(EvaluationError, match="no repeat on the same images"):
            drop(matched, altered)


def test_where_nothing_can_be_found_the_drop_is_unknown() -> None:
    detections, truth = sample_split(3, boxes=0.0)
    matched = match(detections, truth)
    found = drop(matched, [matched], resamples=20)
    assert np.isnan([found.ap.value, found.ap.low, found.ap.high]).all()
