"""What a score threshold does: operating points and their gaps, FROC, precision by recall, confusion, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.intervals import (
    Error,
    difference_interval_of,
    estimate,
    interval_of,
    mean_area,
    patients_with,
    share_interval,
    without_each,
)
from mmad.evaluation.matching import Floats, Matched, match
from mmad.evaluation.resampling import CELLS, RECALLS, Interval, patient_weights, weigh

#: False positives per image at which FROC's score is taken (Setio et al., LUNA16, 2017).
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class OperatingPoint:
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
        raise EvaluationError(f"score thresholds {list(scores)}", hint="use numbers from 0 to 1, such as 0.05,0.1,0.3")


def operating_points(matched: Matched, scores: Sequence[float]) -> tuple[OperatingPoint, ...]:
    """The figures at each of ``scores``.

    Dropping the weaker detections of an image changes no match of the stronger ones, so one matching serves all.
    """
    check_scores(scores)
    found = []
    for score in scores:
        kept = above(matched, score)
        weighted = weigh(kept)
        hits, counted = int(kept.hit[0].sum()), int(kept.counted[0].sum())
        boxes = int(matched.boxes.sum())
        precision = hits / counted if counted else float("nan")
        recall = hits / boxes if boxes else float("nan")
        f1 = 2 * hits / (counted + boxes) if boxes else float("nan")
        found.append(
            OperatingPoint(
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


def gaps(rows: Sequence[OperatingPoint]) -> tuple[float, ...]:
    """The log's threshold gap: AP at each score minus that at the first."""
    return tuple(row.ap - rows[0].ap for row in rows)


def froc(matched: Matched) -> Froc:
    """Sensitivity at ``FROC_RATES``, every image counted once."""
    once = np.ones((1, len(matched.patients)))
    everything = froc_curve(matched, once, None)[0]
    per_class = tuple(
        (label, float(froc_curve(matched, once, k)[0].mean())) for k, label in enumerate(matched.categories)
    )
    return Froc(FROC_RATES, tuple(map(float, everything)), float(everything.mean()), per_class)


def froc_curve(matched: Matched, weights: Floats, finding: int | None) -> Floats:
    """(B, rates) highest sensitivity with at most so many false positives per image, for B weightings.

    The curve is read at score values, so that detections of one score come together or not at all and the order of
    the studies plays no part. ``finding`` takes one alone, None all together. NaN where a weighting leaves no true box.
    """
    part = slice(None) if finding is None else matched.of(finding)
    order = np.argsort(-matched.score[part], kind="stable")
    score, image = matched.score[part][order], matched.image[part][order]
    hit = matched.hit[0, part][order]
    false = matched.counted[0, part][order] & ~hit
    boxes = weights @ (matched.boxes.sum(axis=1) if finding is None else matched.boxes[:, finding])
    images = weights.sum(axis=1)
    hits, alarms = np.flatnonzero(hit), np.flatnonzero(false)
    # how many hits have a higher score than each false alarm, and than none
    before = np.r_[np.searchsorted(-score[hits], -score[alarms], side="left"), len(hits)].astype(np.int64)
    # an alarm counts with all others of its score
    last = np.searchsorted(-score[alarms], -score[alarms], side="right") - 1
    by_image = np.ascontiguousarray(weights.T)  # (I, B): sums over detections are sums of whole rows
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = (np.cumsum(by_image[image[alarms]], axis=0) / images)[last]  # (alarms, B)
        right = np.cumsum(by_image[image[hits]], axis=0) / boxes  # (hits, B)
    right = np.concatenate([np.zeros((1, len(weights))), right])
    result = np.full((len(weights), len(FROC_RATES)), np.nan)
    known = np.flatnonzero(boxes > 0)
    for n, rate in enumerate(FROC_RATES):
        allowed = (wrong <= rate).sum(axis=0)  # alarms before the rate is passed
        result[known, n] = right[before[allowed], np.arange(len(weights))][known]
    return result


# How sure operating points and FROC are (``mmad.evaluation.intervals``).


@dataclass(frozen=True)
class OperatingInterval:
    """The figures of one operating point with their intervals; ``gap`` is the AP minus that at the first score."""

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
class FrocInterval:
    """FROC's score and sensitivity at each of its rates, over all findings together and of each."""

    score: Interval
    sensitivity: tuple[Interval, ...]
    per_class: tuple[FindingFroc, ...]


def operating_intervals(matched: Matched, scores: Sequence[float]) -> tuple[OperatingInterval, ...]:
    """The figures of ``operating_points`` with intervals over the patients.

    Args:
        matched: the matches of one run.
        scores: least scores of the operating points.

    Raises:
        EvaluationError: score thresholds that are none.
    """
    points, patients = operating_points(matched, scores), patients_with(matched)
    boxes, found = int(matched.boxes.sum()), []
    first: Floats | None = None
    for point in points:
        kept = above(matched, point.score)
        area = mean_area(kept)
        first = area if first is None else first
        whole = estimate([kept])
        rates = without_each(kept, partial(_rates, kept))
        counted = kept.counted[0]
        detecting = len({kept.patients[i] for i in kept.image[counted]})
        precision = interval_of(rates[:, 0], detecting, int(counted.sum()))
        recall, f1 = (interval_of(rates[:, n], patients, boxes) for n in (1, 2))
        gap = area - first
        gap[0] = point.ap - points[0].ap
        lost = difference_interval_of(gap, patients)
        found.append(OperatingInterval(point.score, whole.ap, whole.ar, precision, recall, f1, lost))
    return tuple(found)


def _rates(kept: Matched, weights: Floats) -> Floats:
    """Precision, recall and F1 over all findings together, (B, 3); NaN where one has no meaning."""
    images = len(kept.patients)
    hits = weights @ np.bincount(kept.image[kept.hit[0]], minlength=images)
    counted = weights @ np.bincount(kept.image[kept.counted[0]], minlength=images)
    boxes = weights @ kept.boxes.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(boxes > 0, 2 * hits / (counted + boxes), np.nan)
        return np.stack([hits / counted, hits / boxes, f1], axis=1)


#: Resamples of the patients for the variance of FROC.
_RESAMPLES = 400


def froc_intervals(matched: Matched) -> FrocInterval:
    """The figures of ``froc`` with intervals over the patients; arguments as for the operating points.

    A sensitivity at a rate is read where the false alarms reach it, so one patient less moves it by a whole step or by
    nothing: leaving patients out makes some intervals several times too wide. Its variance is that of resamples of
    whole patients.
    """
    drawn = patient_weights(matched.patients, _RESAMPLES, 0)
    weights = np.concatenate([np.ones((1, len(matched.patients))), drawn])
    step = max(1, CELLS // max(1, len(matched.row)))

    def of(finding: int | None) -> tuple[Interval, tuple[Interval, ...]]:
        chunks = [weights[start : start + step] for start in range(0, len(weights), step)]
        curves = np.concatenate([froc_curve(matched, chunk, finding) for chunk in chunks])
        patients = patients_with(matched, finding)
        boxes = int((matched.boxes if finding is None else matched.boxes[:, finding]).sum())

        def one(values: Floats) -> Interval:
            known = values[1:][~np.isnan(values[1:])]
            variance = float(known.var(ddof=1)) if len(known) > 1 else 0.0
            return share_interval(values[0], Error(variance, patients - 1.0), patients, boxes)

        return one(curves.mean(axis=1)), tuple(one(rate) for rate in curves.T)

    return FrocInterval(*of(None), tuple(FindingFroc(label, *of(k)) for k, label in enumerate(matched.categories)))


# Precision by recall as COCO draws it, so that the mean of the curve is the AP.


@dataclass(frozen=True)
class RecallCurve:
    """Highest precision at each recall or beyond it, at COCO's 101 recalls, mean over the findings with true boxes.

    Empty where no finding has one. The mean of ``precision`` is the AP.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]


def recall_curve(matched: Matched) -> RecallCurve:
    """The curve of a matching at the first of its overlap thresholds."""
    curves = [_of_finding(matched, k) for k in range(len(matched.categories)) if matched.boxes[:, k].sum() > 0]
    if not curves:
        return RecallCurve((), ())
    return RecallCurve(tuple(map(float, RECALLS)), tuple(map(float, np.mean(curves, axis=0))))


def _of_finding(matched: Matched, finding: int) -> Floats:
    """(101,) precision of one finding; 0 beyond the highest recall."""
    part = matched.of(finding)
    hit, counted = matched.hit[0, part], matched.counted[0, part]
    hits = np.cumsum(hit)[hit]
    precision = hits / np.cumsum(counted)[hit]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / matched.boxes[:, finding].sum(), RECALLS, side="left")
    drawn = np.zeros(len(RECALLS))
    reached = place < len(hits)
    drawn[reached] = envelope[place[reached]]
    return drawn


# What is taken for what, and whether the scores mean what they say.


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts (K + 1, K + 1): rows are true findings and last the background, columns detected and last missed.

    Equal names are matched first, as in AP, so that the diagonal holds AP's hits. What is left, false alarms and
    missed boxes, is then matched whatever the names, best scores first: a wrong name is not taken for a wrong place.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Reliability of the scores: per bin its mean score, share of hits and number; and the expected error."""

    edges: tuple[float, ...]
    score: tuple[float, ...]
    hits: tuple[float, ...]
    count: tuple[int, ...]
    error: float  # expected calibration error (Naeini et al., 2015)


def confusion(
    detections: Detections,
    truth: GroundTruth,
    *,
    score: float = 0.3,
    overlap: Overlap = "iou",
    threshold: float = 0.5,
    max_detections: int = 10,
) -> Confusion:
    """The confusion matrix of the detections with at least ``score``, matched under the protocol of AP.

    Only detections that AP counts are here: the best ``max_detections`` of an image and finding, without those on
    ignored boxes.
    """
    kept = at_least(detections, score)
    matched = match(kept, truth, overlap=overlap, thresholds=(threshold,), max_detections=max_detections)
    findings = len(truth.categories)
    counts = np.zeros((findings + 1, findings + 1), dtype=np.int64)
    hit, true = matched.hit[0], matched.true[0]
    np.add.at(counts, (truth.labels[true[hit]] - 1, matched.finding[hit]), 1)
    # what AP calls a false alarm and a missed box, matched with each other whatever their names
    left = matched.row[matched.counted[0] & ~hit]
    missed = np.ones(len(truth.labels), dtype=bool) if truth.ignore is None else ~truth.ignore
    missed[true[hit]] = False
    boxes = np.flatnonzero(missed)
    one = np.ones_like
    nameless = Detections(kept.studies, kept.study[left], kept.boxes[left], kept.scores[left], one(kept.labels[left]))
    blind = GroundTruth(
        truth.studies, truth.patients, ("any",), truth.study[boxes], truth.boxes[boxes], one(truth.labels[boxes])
    )
    most = max(1, len(left))
    mistaken = match(nameless, blind, overlap=overlap, thresholds=(threshold,), max_detections=most)
    named, wrong = kept.labels[left[mistaken.row]] - 1, mistaken.hit[0]
    taken = boxes[mistaken.true[0][wrong]]
    np.add.at(counts, (truth.labels[taken] - 1, named[wrong]), 1)
    missed[taken] = False
    counts[findings, :findings] = np.bincount(named[~wrong], minlength=findings)
    counts[:findings, findings] = np.bincount(truth.labels[missed] - 1, minlength=findings)
    return Confusion(truth.categories, counts)


#: Bins of a calibration.
_BINS = 10


def calibration(scores: NDArray[np.float64], hits: NDArray[np.bool_]) -> Calibration:
    """How often detections of a score are hits, in ten bins of equal width."""
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    place = np.clip(np.digitize(scores, edges[1:-1]), 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=scores, minlength=_BINS) / count
        share = np.bincount(place, weights=hits.astype(np.float64), minlength=_BINS) / count
    filled = count > 0
    total = max(1, len(scores))
    error = float((np.abs(mean - share)[filled] * count[filled]).sum() / total) if len(scores) else float("nan")
    return Calibration(tuple(edges), tuple(mean), tuple(share), tuple(int(n) for n in count), error)
