"""How alike two runs are on the same images, and where they differ most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.matching import Ints, Matched, match
from mmad.evaluation.thresholds import at_least


@dataclass(frozen=True)
class Shared:
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
) -> tuple[Shared, ...]:
    """Match the detections of two runs with each other, finding by finding.

    Args:
        first: of one run.
        second: of the other.
        labels: the findings.
        score: least score of a detection that is looked at.
        overlap: ``iou``, or ``iobb``: intersection over the second's box.
        threshold: overlap from which two detections are one.

    Raises:
        EvaluationError: the runs looked at other studies.
    """
    if set(first.studies) != set(second.studies):
        raise EvaluationError("the runs looked at other studies", where="agreement", mend="name runs of one split")
    one, two = at_least(first, score), at_least(second, score)
    as_truth = GroundTruth(one.studies, one.studies, labels, one.study, one.boxes, one.labels)
    most = max(1, len(two.labels))
    matched = match(two, as_truth, overlap=overlap, thresholds=(threshold,), max_detections=most)
    found = []
    for k, label in enumerate(labels):
        both = int(matched.hit[0, matched.of(k)].sum())
        found.append(
            Shared(label, both, int((one.labels == k + 1).sum()) - both, int((two.labels == k + 1).sum()) - both)
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
    """The studies on which two runs differ most: (study, hits less false alarms of the second less the first's)."""

    sides = (matched_at(one, truth, score=score, overlap=overlap, threshold=threshold) for one in (first, second))
    of_first, of_second = map(worth, sides)
    gain = of_second - of_first
    order = np.lexsort((np.arange(len(gain)), -np.abs(gain)))[:most]
    return tuple((truth.studies[i], int(gain[i])) for i in order if gain[i] != 0)


def matched_at(
    detections: Detections, truth: GroundTruth, *, score: float, overlap: Overlap = "iou", threshold: float = 0.5
) -> Matched:
    """The detections with at least ``score``, matched; rows are those of ``at_least(detections, score)``."""
    return match(at_least(detections, score), truth, overlap=overlap, thresholds=(threshold,))


def worth(matched: Matched) -> Ints:
    """Hits less false alarms of each image, (I,)."""
    hit, false = matched.hit[0], matched.counted[0] & ~matched.hit[0]
    images = len(matched.patients)
    return np.bincount(matched.image[hit], minlength=images) - np.bincount(matched.image[false], minlength=images)
