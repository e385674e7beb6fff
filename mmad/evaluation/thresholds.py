"""What a score threshold does: AP, AR, precision, recall and F1, the documented log's gap table, FROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import weigh

#: False positives per image at which FROC's score is taken (Setio et al., LUNA16, 2017).
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Operating:
    """Figures of the detections with at least a score: precision, recall and F1 over all findings together."""

    score: float
    ap: float
    ar: float
    precision: float
    recall: float
    f1: float
    per_image: float  # detections per image


@dataclass(frozen=True)
class Froc:
    """Sensitivity against false positives per image: over all findings together, and of each."""

    rates: tuple[float, ...]
    sensitivity: tuple[float, ...]
    score: float  # mean of the sensitivities
    per_class: tuple[tuple[str, float], ...]


def at_least(detections: Detections, score: float) -> Detections:
    """The detections with at least ``score``; the studies stay."""
    keep = detections.scores >= score
    return Detections(
        detections.studies,
        detections.study[keep],
        detections.boxes[keep],
        detections.scores[keep],
        detections.labels[keep],
        None if detections.masks is None else detections.masks.take(keep),
    )


def check_scores(scores: Sequence[float]) -> None:
    """Refuse score thresholds that are none. Raises EvaluationError."""
    if not scores or any(not 0 <= score <= 1 for score in scores):
        raise EvaluationError(f"score thresholds {list(scores)}", mend="use numbers from 0 to 1, such as 0.05,0.1,0.3")


def operating(matched: Matched, scores: Sequence[float], *, threshold: int = 0) -> tuple[Operating, ...]:
    """The figures at each of ``scores``.

    Dropping the weaker detections of an image changes no match of the stronger ones, so one matching serves all.
    """
    check_scores(scores)
    found = []
    for score in scores:
        kept = above(matched, score)
        weighted = weigh(kept, threshold=threshold)
        hits, counted = int(kept.hit[threshold].sum()), int(kept.counted[threshold].sum())
        boxes = int(matched.boxes.sum())
        precision = hits / counted if counted else float("nan")
        recall = hits / boxes if boxes else float("nan")
        both = precision + recall
        f1 = 2 * precision * recall / both if both > 0 else (0.0 if counted and boxes else float("nan"))
        found.append(
            Operating(
                score,
                float(weighted.mean_ap[0]),
                float(weighted.mean_ar[0]),
                precision,
                recall,
                f1,
                len(kept.row) / max(1, len(matched.patients)),
            )
        )
    return tuple(found)


def above(matched: Matched, score: float) -> Matched:
    """The matches of the detections with at least ``score``."""
    keep = matched.score >= score
    return Matched(
        matched.thresholds,
        matched.row[keep],
        matched.image[keep],
        matched.finding[keep],
        matched.score[keep],
        matched.true[:, keep],
        matched.ignored[:, keep],
        matched.boxes,
        matched.patients,
        matched.categories,
    )


def gaps(rows: Sequence[Operating]) -> tuple[float, ...]:
    """The log's threshold gap: AP at each score less that at the first."""
    return tuple(row.ap - rows[0].ap for row in rows)


def froc(matched: Matched, weights: NDArray[np.floating] | None = None, *, threshold: int = 0) -> Froc:
    """Sensitivity at ``FROC_RATES``, every image counted once (or its first row of ``weights`` times)."""
    weight = np.ones(len(matched.patients)) if weights is None else np.asarray(weights[0], dtype=np.float64)
    everything = froc_curve(matched, weight[None], None, threshold=threshold)[0]
    per_class = tuple(
        (label, float(froc_curve(matched, weight[None], k, threshold=threshold)[0].mean()))
        for k, label in enumerate(matched.categories)
    )
    return Froc(FROC_RATES, tuple(map(float, everything)), float(everything.mean()), per_class)


def froc_curve(matched: Matched, weights: Floats, finding: int | None, *, threshold: int = 0) -> Floats:
    """(B, rates) highest sensitivity with at most so many false positives per image, for B weightings.

    ``finding`` takes one alone, None all together. NaN where a weighting leaves no true box.
    """
    part = slice(None) if finding is None else matched.of(finding)
    order = np.argsort(-matched.score[part], kind="stable")
    image = matched.image[part][order]
    hit = matched.hit[threshold, part][order]
    false = matched.counted[threshold, part][order] & ~hit
    boxes = weights @ (matched.boxes.sum(axis=1) if finding is None else matched.boxes[:, finding])
    images = weights.sum(axis=1)
    hits, alarms = np.flatnonzero(hit), np.flatnonzero(false)
    # how many hits stand before each false alarm, and before the end
    before = np.r_[np.searchsorted(hits, alarms), len(hits)]
    by_image = np.ascontiguousarray(weights.T)  # (I, B): sums over detections are sums of whole rows
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = np.cumsum(by_image[image[alarms]], axis=0) / images  # (alarms, B)
        right = np.cumsum(by_image[image[hits]], axis=0) / boxes  # (hits, B)
    right = np.concatenate([np.zeros((1, len(weights))), right])
    result = np.full((len(weights), len(FROC_RATES)), np.nan)
    known = np.flatnonzero(boxes > 0)
    for n, rate in enumerate(FROC_RATES):
        allowed = (wrong <= rate).sum(axis=0)  # alarms before the rate is passed
        result[known, n] = right[before[allowed], np.arange(len(weights))][known]
    return result
