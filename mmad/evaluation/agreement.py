"""Agreement of two runs on the same images, where they differ most, and what an alteration of the data costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.matching import Floats, Ints, Matched, match
from mmad.evaluation.operating_points import at_least
from mmad.evaluation.resampling import LEVEL, RESAMPLES, Interval, patient_weights, percentiles, weigh


@dataclass(frozen=True)
class SharedBoxes:
    """Detections of one finding: found by both, by the first alone, by the second alone."""

    label: str
    both: int
    first: int
    second: int

    @property
    def agreement(self) -> float:
        """Share found by both among all (NaN without any)."""
        every = self.both + self.first + self.second
        return self.both / every if every else float("nan")


def agreement(
    first: Detections,
    second: Detections,
    labels: tuple[str, ...],
    *,
    score: float = 0.3,
    overlap: Overlap = "iou",
    threshold: float = 0.5,
) -> tuple[SharedBoxes, ...]:
    """Match the detections of two runs with each other, finding by finding.

    Args:
        first: of one run.
        second: of the other.
        labels: the findings.
        score: least score of a detection that counts.
        overlap: ``iou``, or ``iobb``: intersection over the second's box.
        threshold: overlap from which two detections are one.

    Raises:
        EvaluationError: the runs looked at other studies.
    """
    if set(first.studies) != set(second.studies):
        raise EvaluationError("the runs looked at other studies", where="agreement", hint="name runs of one split")
    one, two = at_least(first, score), at_least(second, score)
    as_truth = GroundTruth(one.studies, one.studies, labels, one.study, one.boxes, one.labels)
    most = max(1, len(two.labels))
    matched = match(two, as_truth, overlap=overlap, thresholds=(threshold,), max_detections=most)
    found = []
    for k, label in enumerate(labels):
        both = int(matched.hit[0, matched.of(k)].sum())
        found.append(
            SharedBoxes(label, both, int((one.labels == k + 1).sum()) - both, int((two.labels == k + 1).sum()) - both)
        )
    return tuple(found)


def most_different(
    first: Detections,
    second: Detections,
    truth: GroundTruth,
    *,
    score: float = 0.3,
    overlap: Overlap = "iou",
    threshold: float = 0.5,
    most: int = 12,
) -> tuple[tuple[str, int], ...]:
    """The studies on which two runs differ most: (study, net hits of the second minus those of the first)."""

    sides = (matched_at(one, truth, score=score, overlap=overlap, threshold=threshold) for one in (first, second))
    of_first, of_second = map(net_hits, sides)
    gain = of_second - of_first
    order = np.lexsort((np.arange(len(gain)), -np.abs(gain)))[:most]
    return tuple((truth.studies[i], int(gain[i])) for i in order if gain[i] != 0)


def matched_at(
    detections: Detections, truth: GroundTruth, *, score: float, overlap: Overlap = "iou", threshold: float = 0.5
) -> Matched:
    """The detections with at least ``score``, matched; rows are those of ``at_least(detections, score)``."""
    return match(at_least(detections, score), truth, overlap=overlap, thresholds=(threshold,))


def net_hits(matched: Matched) -> Ints:
    """Hits minus false alarms of each image, (I,)."""
    hit, false = matched.hit[0], matched.counted[0] & ~matched.hit[0]
    images = len(matched.patients)
    return np.bincount(matched.image[hit], minlength=images) - np.bincount(matched.image[false], minlength=images)


@dataclass(frozen=True)
class Drop:
    """Figures as they are minus those after an alteration, means over its ``repeats``; above 0: it hurts."""

    ap: Interval
    ar: Interval
    per_class: tuple[tuple[str, Interval], ...]  # of AP
    before: float  # AP as it is
    after: float  # AP altered, mean over the repeats
    repeats: int


def drop(
    original: Matched,
    altered: Sequence[Matched],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Drop:
    """The drop from ``original`` to the mean of ``altered``, on the same resamples of the patients.

    The importance of an input is what its permutation costs (Breiman, 2001; Fisher et al., 2019).

    Args:
        original: matches of the detections as they are.
        altered: matches of each repeat of the alteration, on the same images.
        resamples: of the patients.
        seed: of the random numbers.

    Raises:
        EvaluationError: no repeat, or repeats on other images.
    """
    if not altered or any(a.patients != original.patients for a in altered):
        raise EvaluationError("no repeat on the same images", where="control")
    weights = patient_weights(original.patients, resamples, seed)
    once, drawn = weigh(original), weigh(original, weights)
    again, redrawn = [weigh(a) for a in altered], [weigh(a, weights) for a in altered]

    def of(figure: str, k: int | None = None) -> Interval:
        def values(weighted: object) -> Floats:
            whole: Floats = getattr(weighted, figure)
            return whole if k is None else whole[:, k]

        # differences first: what an alteration leaves alone then drops by 0 to the last digit
        value = np.mean([values(once) - values(w) for w in again], axis=0)
        return percentiles(float(value[0]), np.mean([values(drawn) - values(w) for w in redrawn], axis=0), LEVEL)

    return Drop(
        ap=of("mean_ap"),
        ar=of("mean_ar"),
        per_class=tuple((label, of("ap", k)) for k, label in enumerate(original.categories)),
        before=float(once.mean_ap[0]),
        after=float(np.mean([w.mean_ap[0] for w in again])),
        repeats=len(altered),
    )
