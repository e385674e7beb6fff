"""Tests of a difference between two arms: swapping their detections within patients, and Holm's adjustment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmad.evaluation.interval import RESAMPLES
from mmad.evaluation.matching import Floats, Matched
from mmad.evaluation.resampling import average_precision, mean_over_findings, weigh

_CELLS = 2_000_000


def permutation_p(pairs: Sequence[tuple[Matched, Matched]], *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of no difference in AP between these very networks, over the patients.

    A patient's detections change arms with chance one half, those of all seeds together: what one patient does to
    several seeds is no independent evidence. The statistic is the mean difference over the seeds. The smallest p is
    1 / (resamples + 1) (Phipson & Smyth, 2010).
    """
    first = pairs[0][0]
    names, place = np.unique(np.array(first.patients, dtype=object).astype(str), return_inverse=True)
    swapped = (np.random.default_rng([seed, 2]).random((resamples, len(names))) < 0.5)[:, place]  # (B, I)
    observed, permuted = 0.0, np.zeros(resamples)
    for one, other in pairs:
        observed += float(weigh(other).mean_ap[0] - weigh(one).mean_ap[0])
        permuted += _swapped(other, one, swapped) - _swapped(one, other, swapped)
    extreme = int((np.abs(permuted) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)


def _swapped(own: Matched, others: Matched, swapped: NDArray[np.bool_]) -> Floats:
    """Mean AP (B,) of ``own`` with the detections of ``others`` where patients are swapped."""
    findings = len(own.categories)
    ap = np.full((len(swapped), findings), np.nan)
    for k in range(findings):
        mine, theirs = own.of(k), others.of(k)
        score = np.r_[own.score[mine], others.score[theirs]]
        order = np.argsort(-score, kind="stable")
        hit = np.r_[own.hit[0, mine], others.hit[0, theirs]][order]
        counted = np.r_[own.counted[0, mine], others.counted[0, theirs]][order]
        boxes = np.full(len(swapped), float(own.boxes[:, k].sum()))
        step = max(1, _CELLS // max(1, len(order)))
        for start in range(0, len(swapped), step):
            chunk = swapped[start : start + step]
            weight = np.concatenate([~chunk[:, own.image[mine]], chunk[:, others.image[theirs]]], axis=1)[:, order]
            there = slice(start, start + len(chunk))
            ap[there, k] = average_precision(weight.astype(np.float64), hit, counted, boxes[there])[0]
    return mean_over_findings(ap)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p of several tests, in the order given; NaN stays NaN and counts as no test."""
    known = [i for i, p in enumerate(values) if not math.isnan(p)]
    adjusted = list(values)
    highest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(known) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted
