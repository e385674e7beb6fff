"""How sure operating points and FROC are: bootstrap percentile intervals over whole patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmad.evaluation.interval import LEVEL, RESAMPLES, Interval, percentiles
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import patient_weights, weigh
from mmad.evaluation.thresholds import above, check_scores, froc_curve


@dataclass(frozen=True)
class OperatingBand:
    """The figures of one operating point with their intervals; ``gap`` is the AP less that at the first score."""

    score: float
    ap: Interval
    ar: Interval
    precision: Interval
    recall: Interval
    f1: Interval
    gap: Interval


@dataclass(frozen=True)
class FindingFroc:
    """One finding's FROC score and its sensitivity at each rate."""

    label: str
    score: Interval
    sensitivity: tuple[Interval, ...]


@dataclass(frozen=True)
class FrocBand:
    """FROC's score and sensitivity at each of its rates, over all findings together and of each."""

    score: Interval
    sensitivity: tuple[Interval, ...]
    per_class: tuple[FindingFroc, ...]


def operating_bands(
    matched: Matched,
    scores: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    threshold: int = 0,
) -> tuple[OperatingBand, ...]:
    """The figures of ``mmad.evaluation.thresholds.operating`` with intervals, all on the same resamples.

    Args:
        matched: the matches of one run.
        scores: least scores of the operating points.
        resamples: of the patients.
        seed: of the random numbers.
        level: of the intervals.
        threshold: which of the matches' overlap thresholds, by position.

    Raises:
        EvaluationError: score thresholds that are none.
    """
    check_scores(scores)
    weights = _weights(matched, resamples, seed)
    found = []
    first: Floats | None = None
    for score in scores:
        kept = above(matched, score)
        weighted = weigh(kept, weights, threshold=threshold)
        rates = _rates(kept, weights, threshold)
        first = weighted.mean_ap if first is None else first
        drawn = (weighted.mean_ap, weighted.mean_ar, *rates, weighted.mean_ap - first)
        found.append(OperatingBand(score, *(_within(figure, level) for figure in drawn)))
    return tuple(found)


def _rates(kept: Matched, weights: Floats, threshold: int) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 over all findings together, (B,) each; NaN where one has no meaning."""
    images = len(kept.patients)
    hits = weights @ np.bincount(kept.image[kept.hit[threshold]], minlength=images)
    counted = weights @ np.bincount(kept.image[kept.counted[threshold]], minlength=images)
    boxes = weights @ kept.boxes.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where((counted > 0) & (boxes > 0), 2 * hits / (counted + boxes), np.nan)
        return hits / counted, hits / boxes, f1


def froc_bands(
    matched: Matched, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL, threshold: int = 0
) -> FrocBand:
    """The figures of ``mmad.evaluation.thresholds.froc`` with intervals; arguments as for the operating points."""
    weights = _weights(matched, resamples, seed)

    def of(finding: int | None) -> tuple[Interval, tuple[Interval, ...]]:
        drawn = froc_curve(matched, weights, finding, threshold=threshold)  # (1 + B, rates)
        return _within(drawn.mean(axis=1), level), tuple(_within(rate, level) for rate in drawn.T)

    return FrocBand(*of(None), tuple(FindingFroc(label, *of(k)) for k, label in enumerate(matched.categories)))


def _weights(matched: Matched, resamples: int, seed: int) -> Floats:
    """Every image once, then the resamples, (1 + B, I)."""
    return np.concatenate([np.ones((1, len(matched.patients))), patient_weights(matched.patients, resamples, seed)])


def _within(figure: Floats, level: float) -> Interval:
    """The first is the figure itself, the others what resamples gave."""
    return percentiles(float(figure[0]), figure[1:], level)
