"""What a detector says of whole images and patients, and how far its scores mean what they say.

An image's score for a finding is that of its best detection. Images and patients are then classified as by any test:
sensitivity and specificity at a score, and the area under the ROC curve (AUROC, ties count one half).

The weighted alternative FROC (wAFROC) also asks whether the place was right: the chance that a true box of an image is
detected with a higher score than the highest false positive of an image without the finding; boxes of one image share
its weight. Where every image has the finding it is undefined, and wAFROC1 compares with the highest false positive of
any image. What was not detected has a score below all others, and two such scores tie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit, logit  # type: ignore[import-untyped]

from mmad.evaluation.intervals import (
    difference_interval_of,
    groups_of,
    interval_of,
    without_each,
)
from mmad.evaluation.matching import Flags, Floats, Ints, Matched
from mmad.evaluation.operating_points import Calibration, above, calibration
from mmad.evaluation.resampling import Interval

ANY = "any finding"
#: False positives per image that the operating point allows on validation.
FALSE_POSITIVES = 0.5
#: Scores are kept so far from 0 and 1 for their logits.
_EDGE = 0.001
_STEPS, _STEEPEST = 30, 100.0


# Counts at a score, and a score chosen on another split.


@dataclass(frozen=True)
class FindingCounts:
    """Boxes of one finding at a score: found, detections of nothing, not found."""

    label: str
    true_positives: int
    false_positives: int
    false_negatives: int


def counts_at(matched: Matched, score: float) -> tuple[FindingCounts, ...]:
    """Of every finding, of the detections with at least ``score``."""
    kept = above(matched, score)
    found = []
    for k, label in enumerate(matched.categories):
        hit, counted = kept.hit[0, kept.of(k)], kept.counted[0, kept.of(k)]
        right = int(hit.sum())
        found.append(FindingCounts(label, right, int(counted.sum()) - right, int(matched.boxes[:, k].sum()) - right))
    return tuple(found)


def score_allowing(matched: Matched, rate: float = FALSE_POSITIVES) -> float:
    """The lowest score of which detections have at most ``rate`` false positives per image, all findings together.

    Detections of one score come together. 1 or more where even the best are too many.
    """
    false = matched.counted[0] & ~matched.hit[0]
    alarms = np.sort(matched.score[false])[::-1]
    allowed = math.floor(rate * len(matched.patients) + 1e-9)
    scores = np.unique(matched.score)
    if allowed >= len(alarms):
        return float(scores[0]) if len(scores) else 0.0
    usable = scores[scores > alarms[allowed]]
    return float(usable[0]) if len(usable) else float(np.nextafter(alarms[allowed], 2.0))


# Images and patients classified.


@dataclass(frozen=True)
class Detected:
    """How images, or patients, with a finding are separated from others; sensitivity and specificity at a score.

    NaN where no score was chosen, or one of the two kinds is missing.
    """

    label: str
    positives: int
    negatives: int
    sensitivity: Interval
    specificity: Interval
    auroc: Interval


def detected(matched: Matched, score: float | None, *, by_patient: bool = False) -> tuple[Detected, ...]:
    """Of any finding, then of each; by image or by patient (positive where one of the images is).

    Args:
        matched: the matches of one run.
        score: of the operating point; None for AUROC alone.
        by_patient: whole patients.
    """
    groups = groups_of(matched.patients)
    if by_patient:
        names, place = np.unique(np.array(matched.patients, dtype=object).astype(str), return_inverse=True)
        units = len(names)
        group = np.zeros(units, dtype=np.int64)
        group[place] = groups
    else:
        place, units, group = np.arange(len(groups)), len(groups), groups
    everything = np.ones(len(matched.row), dtype=bool)
    choices = [(ANY, everything, matched.boxes.sum(axis=1))]
    choices += [(label, matched.finding == k, matched.boxes[:, k]) for k, label in enumerate(matched.categories)]
    found = []
    for label, chosen, boxes in choices:
        chosen = chosen & matched.counted[0]
        highest = _highest(place[matched.image[chosen]], matched.score[chosen], units)
        positive = np.bincount(place, weights=boxes, minlength=units) > 0
        found.append(classified(label, highest, positive, group, score))
    return tuple(found)


def _highest(unit: Ints, score: Floats, units: int) -> Floats:
    highest = np.full(units, -np.inf)
    np.maximum.at(highest, unit, score)
    return highest


def classified(label: str, highest: Floats, positive: Flags, group: Ints, score: float | None = None) -> Detected:
    """How a score each classifies units, ``highest`` (N,); ``group`` is whom each is left out with."""
    with_it, without = highest[positive], highest[~positive]
    people = [len(np.unique(group[which])) for which in (positive, ~positive)]
    unknown = Interval(math.nan, math.nan, math.nan)
    sensitivity = specificity = unknown
    if score is not None:
        found, passed = (
            _share(true, group[of], group) for true, of in ((with_it >= score, positive), (without < score, ~positive))
        )
        sensitivity = interval_of(found, people[0], len(with_it))
        specificity = interval_of(passed, people[1], len(without))
    curve = chance_above(without, group[~positive], with_it, np.ones(len(with_it)), group[positive], group)
    area = interval_of(curve, min(people), min(len(with_it), len(without)))
    return Detected(label, len(with_it), len(without), sensitivity, specificity, area)


def _share(true: Flags, own: Ints, groups: Ints) -> Floats:
    """(1 + G,) share of units that are true: of all, then without each group."""
    size = int(groups.max(initial=-1)) + 1
    right, every = np.bincount(own, weights=true, minlength=size), np.bincount(own, minlength=size)
    with np.errstate(invalid="ignore"):
        found = np.r_[right.sum(), right.sum() - right] / np.r_[every.sum(), every.sum() - every]
    return _kept(found)


def _kept(figures: Floats) -> Floats:
    kept: Floats = np.where(np.isnan(figures), figures[:1], figures)
    return kept


def chance_above(
    below: Floats, below_group: Ints, high: Floats, weight: Floats, high_group: Ints, groups: Ints
) -> Floats:
    """(1 + G,) weighted chance that one of ``high`` exceeds one of ``below``, ties one half; of all, then without each.

    Args:
        below: (N,) scores, minus infinity for none; ``below_group`` whom each is left out with.
        high: (M,) scores with their ``weight``; ``high_group`` likewise.
        groups: of all images, 0 to G − 1.
    """
    size = int(groups.max(initial=-1)) + 1
    total, of_below, of_high = _wins(below, high, weight)
    lost = np.zeros(size)
    np.add.at(lost, below_group, of_below)
    np.add.at(lost, high_group, of_high)
    for group in np.intersect1d(below_group, high_group):  # pairs within a group were taken off twice
        own, theirs = below_group == group, high_group == group
        lost[group] -= _wins(below[own], high[theirs], weight[theirs])[0]
    count, mass = np.bincount(below_group, minlength=size), np.bincount(high_group, weights=weight, minlength=size)
    wins = np.r_[total, total - lost]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = wins / (np.r_[count.sum(), count.sum() - count] * np.r_[mass.sum(), mass.sum() - mass])
    return _kept(np.where(np.isfinite(found), found, np.nan))


def _wins(below: Floats, high: Floats, weight: Floats) -> tuple[float, Floats, Floats]:
    """Weighted pairs that ``high`` wins, in all, of each of ``below`` and of each of ``high``."""
    ordered = np.sort(below)
    left, right = np.searchsorted(ordered, high, side="left"), np.searchsorted(ordered, high, side="right")
    of_high: Floats = weight * (left + right) / 2
    order = np.argsort(high)
    heavier = np.r_[np.cumsum(weight[order][::-1])[::-1], 0.0]  # weight from each place on
    left, right = np.searchsorted(high[order], below, side="left"), np.searchsorted(high[order], below, side="right")
    of_below: Floats = (heavier[left] + heavier[right]) / 2
    return float(of_high.sum()), of_below, of_high


# wAFROC.


@dataclass(frozen=True)
class FrocMerit:
    """wAFROC of one finding, or wAFROC1 (``name``) where no image is without it."""

    label: str
    name: str
    value: Interval


def wafroc(matched: Matched) -> tuple[FrocMerit, ...]:
    """Of every finding; equal weights within an image."""
    found = wafroc_figures(matched, groups_of(matched.patients))
    return tuple(FrocMerit(label, name, interval_of(*of)) for label, name, of in found)


def wafroc_figures(
    matched: Matched, groups: Ints, size: int | None = None
) -> Iterator[tuple[str, str, tuple[Floats, int, int]]]:
    """Of every finding its label, the merit's name, and (figures, patients, cases) of ``interval_of``.

    Args:
        matched: the matches, of all images or of some.
        groups: (I,) whom each image is left out with; ``size`` counts them where some have no image here.
    """
    images = len(groups)
    every = np.arange(int(groups.max(initial=-1)) + 1 if size is None else size)
    for k, label in enumerate(matched.categories):
        part, boxes = matched.of(k), matched.boxes[:, k]
        image, score = matched.image[part], matched.score[part]
        hit = matched.hit[0, part]
        false = matched.counted[0, part] & ~hit
        highest = _highest(image[false], score[false], images)
        negative = boxes == 0
        compared = np.ones(images, dtype=bool) if not negative.any() else negative
        # every true box, detected or not
        missed = np.repeat(np.arange(images), np.maximum(boxes - np.bincount(image[hit], minlength=images), 0))
        owner = np.r_[image[hit], missed]
        scores = np.r_[score[hit], np.full(len(missed), -np.inf)]
        figures = chance_above(highest[compared], groups[compared], scores, 1 / boxes[owner], groups[owner], every)
        people = len(np.unique(groups[owner]))
        people = people if not negative.any() else min(people, len(np.unique(groups[negative])))
        cases = min(int(boxes.sum()), int(compared.sum()))
        yield label, "wAFROC" if negative.any() else "wAFROC1", (figures, people, cases)


# Calibration of an image's score.


@dataclass(frozen=True)
class ScoreCalibration:
    """Whether images with a finding are as frequent as the highest score says.

    ``intercept`` and ``slope`` are of the logistic regression of presence on the score's logit (Cox, 1958): 0 and 1
    where scores are chances. ``brier`` is the mean squared difference, ``reliability`` the shares in ten bins with
    their expected calibration error (ECE), which only describes.
    """

    label: str
    intercept: Interval
    slope: Interval
    brier: Interval
    reliability: Calibration


def score_calibration(matched: Matched) -> tuple[ScoreCalibration, ...]:
    """Of every finding; an image without a detection has the score 0, which counts as 0.001 in the regression."""
    images = len(matched.patients)
    found = []
    for k, label in enumerate(matched.categories):
        part = matched.of(k)
        counted = matched.counted[0, part]
        highest = _highest(matched.image[part][counted], matched.score[part][counted], images)
        score = np.where(np.isfinite(highest), highest, 0.0)
        there = matched.boxes[:, k] > 0
        owners = np.array(matched.patients, dtype=object)
        people = min(len(set(owners[there])), len(set(owners[~there])))
        lines = without_each(matched, partial(_logistic, score=score, there=there), images)
        brier = without_each(matched, partial(_brier, score=score, there=there), images)
        found.append(
            ScoreCalibration(
                label,
                difference_interval_of(lines[:, 0], people),
                difference_interval_of(lines[:, 1], people),
                interval_of(brier, people, images),
                calibration(score, there),
            )
        )
    return tuple(found)


def _brier(weights: Floats, score: Floats, there: Flags) -> Floats:
    with np.errstate(invalid="ignore"):
        mean: Floats = weights @ (score - there) ** 2 / weights.sum(axis=1)
    return mean


def _logistic(weights: Floats, score: Floats, there: Flags) -> Floats:
    """(B, 2) intercept and slope of presence on logit(score) by Newton's method; NaN where they do not exist."""
    x, y = logit(np.clip(score, _EDGE, 1 - _EDGE)), there.astype(np.float64)
    if there.all() or not there.any():
        return np.full((len(weights), 2), np.nan)
    with np.errstate(all="ignore"):
        line = np.stack([logit(weights @ y / weights.sum(axis=1)), np.zeros(len(weights))], axis=1)
        for _ in range(_STEPS):
            chance = expit(line[:, :1] + line[:, 1:] * x)
            rest, curve = weights * (y - chance), weights * chance * (1 - chance)
            gradient = np.stack([rest.sum(axis=1), rest @ x], axis=1)
            a, b, c = curve.sum(axis=1), curve @ x, curve @ (x * x)
            determinant = a * c - b * b
            step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], axis=1)
            step /= determinant[:, None]
            line = line + step
    sound = np.isfinite(line).all(axis=1) & (np.abs(line) < _STEEPEST).all(axis=1) & (np.abs(step) < 1e-6).all(axis=1)
    return np.where(sound[:, None], line, np.nan)
