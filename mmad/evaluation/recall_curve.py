"""Precision by recall as COCO draws it, so that the mean of the curve is the AP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import RECALLS


@dataclass(frozen=True)
class RecallCurve:
    """Highest precision at each recall or beyond it, at COCO's 101 recalls, mean over the findings with true boxes.

    Empty where no finding has one. The mean of ``precision`` is the AP.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]


def recall_curve(matched: Matched, *, threshold: int = 0) -> RecallCurve:
    """The curve of a matching at one of its overlap thresholds, by position."""
    curves = [
        _of_finding(matched, k, threshold) for k in range(len(matched.categories)) if matched.boxes[:, k].sum() > 0
    ]
    if not curves:
        return RecallCurve((), ())
    return RecallCurve(tuple(map(float, RECALLS)), tuple(map(float, np.mean(curves, axis=0))))


def _of_finding(matched: Matched, finding: int, threshold: int) -> Floats:
    """(101,) precision of one finding; 0 beyond the highest recall."""
    part = matched.of(finding)
    hit, counted = matched.hit[threshold, part], matched.counted[threshold, part]
    hits = np.cumsum(hit)[hit]
    precision = hits / np.cumsum(counted)[hit]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / matched.boxes[:, finding].sum(), RECALLS, side="left")
    drawn = np.zeros(len(RECALLS))
    reached = place < len(hits)
    drawn[reached] = envelope[place[reached]]
    return drawn
