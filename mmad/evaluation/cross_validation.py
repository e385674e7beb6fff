"""Figures over the folds of a cross-validation.

The figure is the mean over the folds, seeds averaged within each. The folds of K share most of their training patients,
so the spread s between them understates how far another study would lie: the variance of the mean is (1/K + n_test /
n_train) · s² with K − 1 degrees of freedom (Nadeau & Bengio, 2003). No estimate of it is unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import LEVEL, Interval, weigh

#: Folds that differ by no more than this are equal.
_ROUNDING = 1e-12


def fold_error(values: Floats, test_to_train: float) -> tuple[float, int]:
    """Standard error of the mean of ``values`` (K,), one for each fold, and its degrees of freedom; NaN of one fold.

    Args:
        test_to_train: patients of a fold's test split for each of its training split.
    """
    folds = len(values)
    if folds < 2:
        return math.nan, 0
    spread = 0.0 if np.ptp(values) <= _ROUNDING else float(values.var(ddof=1))
    return math.sqrt((1 / folds + test_to_train) * spread), folds - 1


def over_folds(values: Sequence[float], test_to_train: float, least: float = 0.0, *, level: float = LEVEL) -> Interval:
    """The mean over folds with its t interval, within ``least`` and 1; none where folds lack it, or all are equal."""
    each = np.array(values)
    value = float(each.mean())
    error, freedom = fold_error(each, test_to_train)
    if not error > 0:
        return Interval(value, math.nan, math.nan)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(value, max(least, value - half), min(1.0, value + half))


def pooled_ap(folds: Sequence[Matched]) -> float:
    """AP of the detections of all folds together, each by the network that has not seen the patient.

    It describes: scores of different networks are ranked as if they had one scale, and no interval belongs to it.
    """
    return float(weigh(pooled(folds)).mean_ap[0])


def pooled(folds: Sequence[Matched]) -> Matched:
    """The matches of all folds together; rows of detections and true boxes stay those of each fold."""
    shift = np.cumsum([0, *(len(one.patients) for one in folds)])
    score, finding, image, row = (
        np.concatenate([getattr(one, name) for one in folds]) for name in ("score", "finding", "image", "row")
    )
    image = image + np.repeat(shift[:-1], [len(one.image) for one in folds])
    order = np.lexsort((image, -score, finding))
    both = {name: np.concatenate([getattr(one, name) for one in folds], axis=1) for name in ("true", "ignored")}
    return replace(
        folds[0],
        row=row[order],
        image=image[order],
        finding=finding[order],
        score=score[order],
        true=both["true"][:, order],
        ignored=both["ignored"][:, order],
        boxes=np.concatenate([one.boxes for one in folds]),
        patients=tuple(patient for one in folds for patient in one.patients),
    )
