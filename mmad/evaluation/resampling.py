"""AP and AR of many weightings of the images from one matching, and the weights that resamples of patients give."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.evaluation.matching import Floats, Matched

RESAMPLES = 1000
LEVEL = 0.95
RECALLS = np.linspace(0.0, 1.00, 101)  # COCO's 101 recalls
_NEXT_RECALL = np.append(RECALLS, np.inf)
#: Weights times detections that are held at once: 16 million doubles are 128 MiB.
CELLS = 2_000_000
_TINY = float(np.spacing(1))

# AP and AR of weightings of the images.


@dataclass(frozen=True, eq=False)
class Weighted:
    """AP and AR of B weightings of the images; NaN where a weighting leaves a finding no true box."""

    ap: Floats  # (B, K)
    ar: Floats  # (B, K)

    @property
    def mean_ap(self) -> Floats:
        """Mean over the findings, (B,)."""
        return mean_over_findings(self.ap)

    @property
    def mean_ar(self) -> Floats:
        """Mean over the findings, (B,)."""
        return mean_over_findings(self.ar)


def mean_over_findings(values: Floats) -> Floats:
    """(B, K) to (B,), without those that are NaN."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return result


def weigh(matched: Matched, weights: NDArray[np.floating] | None = None, *, threshold: int = 0) -> Weighted:
    """AP and AR with every image counted ``weights`` times.

    A weight of 2 equals the image being there twice: COCO's curve has its corners at the hits, and a
    repeated hit only adds points between them.

    Args:
        matched: the matches, found once.
        weights: (B, I) how often each image counts in each of B weightings; None counts each once.
        threshold: which of the matches' overlap thresholds, by position.
    """
    images = len(matched.patients)
    rows = np.ones((1, images)) if weights is None else np.asarray(weights, dtype=np.float64)
    findings = len(matched.categories)
    ap, ar = np.full((len(rows), findings), np.nan), np.full((len(rows), findings), np.nan)
    for k in range(findings):
        part = matched.of(k)
        count = max(1, part.stop - part.start)
        step = max(1, CELLS // count)
        hit, counted = matched.hit[threshold, part], matched.counted[threshold, part]
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            there = slice(start, start + len(chunk))
            ap[there, k], ar[there, k] = _curve(chunk, matched.image[part], hit, counted, chunk @ matched.boxes[:, k])
    return Weighted(ap, ar)


def _curve(
    weights: Floats, image: NDArray[np.int64], hit: NDArray[np.bool_], counted: NDArray[np.bool_], boxes: Floats
) -> tuple[Floats, Floats]:
    """AP and AR of one finding, (B,) each."""
    return average_precision(weights.T[image].T, hit, counted, boxes)


def average_precision(
    weight: Floats, hit: NDArray[np.bool_], counted: NDArray[np.bool_], boxes: Floats
) -> tuple[Floats, Floats]:
    """AP over COCO's 101 recalls, and the highest recall, of B weightings.

    Args:
        weight: (B, N) weight of each detection, by falling score.
        hit: (N,) detections that found a box; counted: (N,) those that count at all.
        boxes: (B,) weighted number of true boxes; NaN results where it is 0.
    """
    known = boxes > 0
    if not hit.any():
        nothing: Floats = np.where(known, 0.0, np.nan)
        return nothing, nothing.copy()
    # resamples run along the last axis, for sums over detections are then sums of whole rows
    by_score = np.ascontiguousarray(weight.T)  # (N, B)
    places = np.flatnonzero(hit)
    hits = np.cumsum(by_score[places], axis=0)  # (H, B)
    so_far = np.cumsum(by_score if counted.all() else by_score * counted[:, None], axis=0)[places]
    precision = hits / (so_far + _TINY)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / boxes
    # hits that lie below each of COCO's recalls, (B, 101): the first one beyond is where the curve is read
    rows = np.arange(len(weight))
    counted_at = np.bincount((_recalls_up_to(recall) + 102 * rows).ravel(), minlength=102 * len(rows))
    below = np.cumsum(counted_at.reshape(-1, 102), axis=1)[:, :-1]
    read = np.concatenate([envelope, np.zeros((1, len(rows)))])[below, rows[:, None]]
    ap: Floats = np.where(known, read.sum(axis=1) / len(RECALLS), np.nan)
    ar: Floats = np.where(known, recall[-1], np.nan)
    return ap, ar


def _recalls_up_to(recall: Floats) -> NDArray[np.int64]:
    """How many of COCO's recalls are at most each of ``recall``; the first guess is at most one off."""
    guess = np.nan_to_num(np.minimum(recall, 1.0) * 100).astype(np.int64)
    guess -= RECALLS[guess] > recall
    found: NDArray[np.int64] = guess + 1 + (_NEXT_RECALL[guess + 1] <= recall)
    return found


@functools.lru_cache(maxsize=2)  # many runs are evaluated on the same patients, one after another
def patient_weights(patients: tuple[str, ...], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, images) how often each image stands in a resample of the PATIENTS, drawn with replacement.

    The images of one patient are not independent, so patients are drawn whole (Efron & Tibshirani, 1993).
    """
    names, place = np.unique(np.array(patients, dtype=object).astype(str), return_inverse=True)
    chance = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), chance, size=resamples)
    weights: NDArray[np.float64] = drawn[:, place].astype(np.float64)
    weights.setflags(write=False)
    return weights


# A figure with its interval, read off resamples.


@dataclass(frozen=True)
class Interval:
    """A figure with its interval; NaN where nothing could be measured, or too few ``patients`` have what it is of."""

    value: float
    low: float
    high: float
    patients: int | None = None


def percentiles(value: float, drawn: Floats, level: float = LEVEL) -> Interval:
    """``value`` within the middle ``level`` of what resamples gave, (B,); those that could not be measured left out."""
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def require_equal(runs: Sequence[Matched]) -> None:
    """EvaluationError unless all runs are over the same patients, findings and true boxes."""
    if not runs:
        raise EvaluationError("no run to evaluate", where="comparison")
    for run in runs[1:]:
        for name in ("patients", "categories"):
            if getattr(run, name) != getattr(runs[0], name):
                raise EvaluationError(
                    f"the runs were evaluated on other {name}", where="comparison", hint="compare runs of one split"
                )
        if not np.array_equal(run.boxes, runs[0].boxes):
            raise EvaluationError("the runs were evaluated against other true boxes", where="comparison")
