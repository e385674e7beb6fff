"""What is taken for what, and whether the scores mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.matching import match


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts (K + 1, K + 1): rows are true findings and last the background, columns detected and last missed.

    A true box is matched with the best-scored detection of ANY finding that overlaps it enough, so that a wrong
    name is told from a wrong place.
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
    """The confusion matrix of the detections with at least ``score``."""
    from mmad.evaluation.thresholds import at_least

    kept = at_least(detections, score)
    one = np.ones_like
    nameless = Detections(kept.studies, kept.study, kept.boxes, kept.scores, one(kept.labels))
    blind = GroundTruth(
        truth.studies, truth.patients, ("any",), truth.study, truth.boxes, one(truth.labels), truth.ignore
    )
    matched = match(nameless, blind, overlap=overlap, thresholds=(threshold,), max_detections=max_detections)
    findings = len(truth.categories)
    counts = np.zeros((findings + 1, findings + 1), dtype=np.int64)
    named = kept.labels[matched.row] - 1
    hit, counted, true = matched.hit[0], matched.counted[0], matched.true[0]
    np.add.at(counts, (truth.labels[true[hit]] - 1, named[hit]), 1)
    counts[findings, :findings] = np.bincount(named[counted & ~hit], minlength=findings)
    ignored = np.zeros(len(truth.labels), dtype=bool) if truth.ignore is None else truth.ignore
    missed = ~ignored
    missed[true[hit]] = False
    counts[:findings, findings] = np.bincount(truth.labels[missed] - 1, minlength=findings)
    return Confusion(truth.categories, counts)


def calibration(scores: NDArray[np.float64], hits: NDArray[np.bool_], *, bins: int = 10) -> Calibration:
    """How often detections of a score are hits, in ``bins`` of equal width."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.digitize(scores, edges[1:-1]), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=scores, minlength=bins) / count
        share = np.bincount(place, weights=hits.astype(np.float64), minlength=bins) / count
    filled = count > 0
    total = max(1, len(scores))
    error = float((np.abs(mean - share)[filled] * count[filled]).sum() / total) if len(scores) else float("nan")
    return Calibration(tuple(edges), tuple(mean), tuple(share), tuple(int(n) for n in count), error)
