"""Intervals of one arm: how far a figure moves when patients are left out, one after the other.

The variance of a figure is that of the delete-one-patient jackknife: images of one patient are not independent, so
patients are left out whole. Several seeds are what several readers are in a reader study, and the variance of their
mean is taken apart as Obuchowski and Rockette (1995) do it, with the degrees of freedom of Hillis (2007).

A share p between 0.1 and 0.9 has the interval ``logit(p) ± t · error / (p (1 − p))``. Nearer to 0 or 1 it has the exact
binomial interval of the number of cases that would give such an error (Korn & Graubard, 1998); without any error, where
all patients agree, of the number of patients. Fewer than ``LEAST_PATIENTS`` give no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import betaincinv, expit, logit, stdtrit  # type: ignore[import-untyped]

from mmad.evaluation.matching import Floats, Ints, Matched
from mmad.evaluation.resampling import LEVEL, Interval, mean_over_findings, require_equal, weigh

#: Fewer patients give no interval.
LEAST_PATIENTS = 10
#: More patients than this are left out in so many groups.
_MOST_GROUPS = 1000
#: Weights times detections that are held at once.
_CELLS = 2_000_000
#: Between these the logit interval holds, beyond them the binomial one.
_LOWEST_LOGIT, _HIGHEST_LOGIT = 0.1, 0.9
#: Variance of a value that is read at 101 recalls: up to 0.01 are rounded off, which leaving out patients cannot show.
_GRID_VARIANCE = (1 / 101) ** 2 / 12


@dataclass(frozen=True)
class IntervalEstimate:
    """AP and AR of one run, or of the mean over several seeds, and of each finding (label, AP, AR)."""

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval, Interval], ...]
    sd: float | None  # of AP over the seeds; None for one


# Leaving out patients.


def groups_of(patients: Sequence[str]) -> Ints:
    """(I,) which group each image is left out with: its patient, or one of ``_MOST_GROUPS`` groups of patients."""
    _, place = np.unique(np.array(patients, dtype=object).astype(str), return_inverse=True)
    groups: Ints = place % _MOST_GROUPS
    return groups


def weights_without(groups: Ints, most: int) -> Iterator[Floats]:
    """Weights (B, I) of the images: first each once, then without each group; at most ``most`` rows at once."""
    left_out = np.arange(-1, int(groups.max(initial=-1)) + 1)
    for start in range(0, len(left_out), max(1, most)):
        yield (groups[None] != left_out[start : start + max(1, most), None]).astype(np.float64)


def without_each(matched: Matched, figures: Callable[[Floats], Floats], detections: int | None = None) -> Floats:
    """``figures`` of the weights of the images, (1 + G, …): of all patients, then without each group.

    A figure that has no value without a group keeps its value of all patients.

    Args:
        matched: the matches.
        figures: from weights (B, I) to (B, …).
        detections: how many ``figures`` weighs at once, all where None.
    """
    count = len(matched.row) if detections is None else detections
    parts = weights_without(groups_of(matched.patients), _CELLS // max(1, count))
    found = np.concatenate([figures(weights) for weights in parts])
    kept: Floats = np.where(np.isnan(found), found[:1], found)
    return kept


def area_and_recall(matched: Matched, finding: int, weights: Floats) -> Floats:
    """(B, 2) of one finding: the area under precision by recall, and the highest recall.

    AP reads the same curve at 101 recalls. It moves in steps where a recall passes one of them, and most patients move
    it by nothing at all: the area tells how far it varies.
    """
    part = matched.of(finding)
    hit = matched.hit[0, part]
    by_score = weights.T[matched.image[part]]  # (N, B)
    boxes = weights @ matched.boxes[:, finding]
    right = by_score[hit]
    hits = np.cumsum(right, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = hits / np.cumsum(by_score * matched.counted[0, part][:, None], axis=0)[hit]
        envelope = np.maximum.accumulate(np.nan_to_num(precision)[::-1], axis=0)[::-1]
        found = np.stack([(envelope * right).sum(axis=0) / boxes, right.sum(axis=0) / boxes], axis=1)
    known: Floats = np.where(boxes[:, None] > 0, found, np.nan)
    return known


# Intervals.


@dataclass(frozen=True)
class Error:
    """The variance of a mean over seeds with its degrees of freedom."""

    variance: float
    freedom: float


def covariances(without: Floats) -> Floats:
    """(S, S) covariances over the patients of figures without each group, (S, G)."""
    groups = without.shape[1]
    deviations = without - without.mean(axis=1, keepdims=True)
    covariance: Floats = (groups - 1) / groups * deviations @ deviations.T
    return covariance


def error_of(values: Floats, without: Floats, patients: int, shared_training: float = 0.0) -> Error:
    """How sure the mean over seeds is.

    Args:
        values: (S,) the figure of each seed.
        without: (S, G) the same without each group of patients.
        patients: that the figure rests on.
        shared_training: where these are folds, the training patients that two have in common for each of one's own.
    """
    seeds = len(values)
    covariance = covariances(without)
    alone = float(covariance.trace()) / seeds
    freedom = max(1.0, patients - 1.0)
    if seeds == 1:
        return Error(alone, freedom)
    shared = max(0.0, (float(covariance.sum()) - seeds * alone) / (seeds * (seeds - 1)))
    # two seeds can agree by luck, but not by more than what the patients do to each alone
    among = max(float(values.var(ddof=1)), alone - shared) * (1 + seeds * shared_training)
    both = among + seeds * shared
    hillis = (both / among) ** 2 * (seeds - 1) if among > 0 else math.inf
    return Error(both / seeds, min(freedom, hillis))


def share_interval(value: float, error: Error, patients: int, cases: float) -> Interval:
    """The interval of a share of 0 to 1, as above; none for too few patients.

    Args:
        value: the share.
        error: of it.
        patients: that it rests on.
        cases: such as boxes: no variance counts as that of more cases.
    """
    value = float(value)
    if math.isnan(value) or patients < LEAST_PATIENTS:
        return Interval(value, math.nan, math.nan, patients)
    return Interval(value, *_bounds(value, error, patients, cases), patients)


def interval_of(figures: Floats, patients: int, cases: float) -> Interval:
    """The interval of a share of one run: ``figures`` (1 + G,) of ``without_each``; else as ``share_interval``."""
    return share_interval(figures[0], error_of(figures[:1], figures[None, 1:], patients), patients, cases)


def _bounds(value: float, error: Error, patients: int, cases: float) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    reach = float(stdtrit(min(error.freedom, 1e9), 1 - tail))
    product = value * (1 - value)
    agree = error.variance <= _GRID_VARIANCE or product <= 0
    if _LOWEST_LOGIT <= value <= _HIGHEST_LOGIT and not agree and patients >= LEAST_PATIENTS:
        middle, half = logit(value), reach * math.sqrt(error.variance) / product
        return float(expit(middle - half)), float(expit(middle + half))
    most = patients if agree or patients < LEAST_PATIENTS else cases
    count = float(most)
    if not agree:
        count = min(count, product / error.variance) * (float(stdtrit(1e9, 1 - tail)) / reach) ** 2
    right = count * value
    low = float(betaincinv(right, count - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, count - right, 1 - tail)) if right < count else 1.0
    return low, high


def difference_interval_of(differences: Floats, patients: int) -> Interval:
    """The t interval of what is no share, (1 + G,) of ``without_each``; none for too few patients."""
    value = float(differences[0])
    if math.isnan(value) or patients < LEAST_PATIENTS:
        return Interval(value, math.nan, math.nan, patients)
    error = error_of(differences[:1], differences[None, 1:], patients)
    half = float(stdtrit(min(error.freedom, 1e9), (1 + LEVEL) / 2)) * math.sqrt(error.variance)
    return Interval(value, value - half, value + half, patients)


def patients_with(matched: Matched, finding: int | None = None) -> int:
    """Patients who have a true box of ``finding``, or of any where None."""
    boxes = matched.boxes.sum(axis=1) if finding is None else matched.boxes[:, finding]
    return len({matched.patients[image] for image in np.flatnonzero(boxes)})


def estimate(
    runs: Sequence[Matched],
    *,
    folds: Sequence[Hashable] = (),
    shared_training: float = 0.0,
) -> IntervalEstimate:
    """AP and AR with their intervals; several runs are seeds of one setting, whose spread counts.

    Args:
        runs: the matches of each seed, of the same split.
        folds: where the runs are of several folds, which one each is of: seeds are averaged within them.
        shared_training: of these folds, as of ``error_of``.

    Raises:
        EvaluationError: no run, or runs over other images.
    """
    require_equal(runs)
    once = [weigh(run) for run in runs]
    without = np.stack([_areas_and_recalls(run) for run in runs])  # (S, 1 + G, K, 2)
    places = [[n for n, one in enumerate(folds) if one == fold] for fold in dict.fromkeys(folds)]
    places = places or [[n] for n in range(len(runs))]
    without = np.stack([without[rows].mean(axis=0) for rows in places])
    boxes, people = runs[0].boxes.sum(axis=0), [patients_with(runs[0], k) for k in range(len(runs[0].categories))]
    found = np.flatnonzero(boxes)

    by_run = [np.stack([figure[0] for figure in part]) for part in ([w.ap for w in once], [w.ar for w in once])]
    figures = [np.stack([each[rows].mean(axis=0) for rows in places]) for each in by_run]  # (S, K) of AP, of AR

    def error(column: int, k: int) -> Error:
        found = error_of(figures[column][:, k], without[:, 1:, k, column], people[k], shared_training)
        return Error(found.variance + (0.0 if column else _GRID_VARIANCE), found.freedom)

    def one(column: int, k: int) -> Interval:
        value = figures[column][:, k].mean()
        return share_interval(value, error(column, k), people[k], boxes[k])

    def mean(column: int) -> Interval:
        values, every = figures[column][:, found].mean(axis=0), patients_with(runs[0])
        if every < LEAST_PATIENTS:
            return Interval(float(values.mean()) if len(found) else math.nan, math.nan, math.nan, every)
        bounds = [
            _bounds(value, error(column, k), people[k], boxes[k])
            for value, k in zip(values.tolist(), found.tolist(), strict=True)
        ]
        together = _correlations(without[:, 1:, found, column].mean(axis=0))
        return _mean_interval(values, np.array(bounds), together, every)

    each = np.array([np.mean([once[n].mean_ap[0] for n in rows]) for rows in places])
    sd = float(each.std(ddof=1)) if len(each) > 1 else None
    per_class = tuple((label, one(0, k), one(1, k)) for k, label in enumerate(runs[0].categories))
    return IntervalEstimate(mean(0), mean(1), per_class, sd)


def _mean_interval(values: Floats, bounds: Floats, correlations: Floats, patients: int) -> Interval:
    """The mean of K findings: each side is as far as those of the findings together, which correlate over patients."""
    value = float(values.mean())
    below, above = values - bounds[:, 0], bounds[:, 1] - values
    low, high = (math.sqrt(max(0.0, float(side @ correlations @ side))) / len(values) for side in (below, above))
    return Interval(value, max(0.0, value - low), min(1.0, value + high), patients)


def _correlations(without: Floats) -> Floats:
    """(K, K) of figures without each group, (G, K); 0 for what nobody moves."""
    deviations = without - without.mean(axis=0)
    scale = np.sqrt((deviations**2).sum(axis=0))
    unit = deviations / np.where(scale > 0, scale, 1.0)
    correlations: Floats = unit.T @ unit
    np.fill_diagonal(correlations, 1.0)
    return correlations


def mean_area(run: Matched) -> Floats:
    """(1 + G,) mean over the findings of the area under precision by recall: all patients, then without each group."""
    return mean_over_findings(_areas_and_recalls(run)[:, :, 0])


def _areas_and_recalls(run: Matched) -> Floats:
    """(1 + G, K, 2) of all patients, then without each group."""
    sizes = [run.of(k).stop - run.of(k).start for k in range(len(run.categories))]
    figures = [partial(area_and_recall, run, k) for k in range(len(sizes))]
    return np.stack([without_each(run, *one) for one in zip(figures, sizes, strict=True)], axis=1)
