"""Intervals, thresholds and comparisons of kept checkpoints, each computed once and kept in the store.

Example:

    with Store.open("db/mmad.sqlite") as store:
        one = judge(store, find_run(store, "quickstart/default/CXR"), How())
        print(estimate_of(store, Archive(), [one]).estimate.ap)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.evaluation.agreement import Shared, agreement, most_different
from mmad.evaluation.bands import FrocBand, OperatingBand, froc_bands, operating_bands
from mmad.evaluation.coco import Overlap
from mmad.evaluation.coco_set import CocoSet, coco_set
from mmad.evaluation.confusion import Calibration, Confusion, calibration, confusion
from mmad.evaluation.intervals import Difference, Estimate, compare, estimate
from mmad.evaluation.thresholds import Froc, Operating, check_scores, froc, operating
from mmad.evaluation.version import version_of
from mmad.report.judged import Archive, How, Judged, require_comparable
from mmad.report.keeping import kept
from mmad.store.gateway import Store

#: The score from which two runs' detections are held against each other.
AGREEMENT_SCORE = 0.3
#: As many studies are named on which two runs differ most.
MOST_STUDIES = 12


@dataclass(frozen=True)
class Measured:
    """AP and AR with intervals, and what they were measured on."""

    estimate: Estimate
    images: int
    patients: int


@dataclass(frozen=True)
class Profile:
    """What score thresholds do; ``confusion`` is at the last of them, ``calibration`` of all detections.

    ``bands`` and ``froc_band`` are the intervals of ``rows`` and ``froc``.
    """

    rows: tuple[Operating, ...]
    froc: Froc
    confusion: Confusion
    calibration: Calibration
    bands: tuple[OperatingBand, ...]
    froc_band: FrocBand


@dataclass(frozen=True)
class Agreeing:
    """When two arms detect the same: detections of at least ``score`` that overlap by ``threshold`` or more.

    ``threshold`` is the protocol's where None.
    """

    score: float = AGREEMENT_SCORE
    overlap: Overlap = "iou"
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_scores([self.score])
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise EvaluationError(
                f"agreement at an overlap of {self.threshold}", mend="use a number above 0 and up to 1"
            )


@dataclass(frozen=True)
class Alike:
    """Detections of at least ``score`` that two arms share, and the studies on which they differ most."""

    score: float
    overlap: str
    threshold: float
    shared: tuple[Shared, ...]  # counts summed over the seeds
    studies: tuple[tuple[str, int], ...]  # hits less false alarms of the other less the reference's, largest first


def subject_of(kind: str, judged: Sequence[Judged]) -> dict[str, Any]:
    """Plain JSON of what an analysis of ``kind`` judges: all under the first one's protocol, split and checkpoint."""
    first = judged[0]
    return {
        "runs": [one.run.key for one in judged],
        "epochs": [one.checkpoint.epoch for one in judged],
        "detections": [one.digest() for one in judged],
        "checkpoint": first.checkpoint.kind,
        "split": first.split,
        **first.protocol.model_dump(mode="json"),
        "version": version_of(kind),
    }


def estimate_of(store: Store, archive: Archive, seeds: Sequence[Judged], how: How | None = None) -> Measured:
    """AP and AR with 95 % intervals over the patients; several runs are seeds of one setting.

    Raises:
        EvaluationError: detections that are missing or cannot be judged, or runs that differ in more than the seed.
        DataError: a data set that is gone or changed.
    """
    how = how or How()
    require_comparable(seeds)
    subject = subject_of("estimate", seeds) | {"resamples": how.resamples, "seed": how.seed}

    def compute() -> Measured:
        runs = [archive.matched(one) for one in seeds]
        found = estimate(runs, resamples=how.resamples, seed=how.seed)
        return Measured(found, len(runs[0].patients), len(set(runs[0].patients)))

    return kept(store, "estimate", subject, Measured, compute)


def difference_of(
    store: Store, archive: Archive, pairs: Sequence[tuple[Judged, Judged]], how: How | None = None
) -> Difference:
    """The other arm less the reference, paired by seed on the same resamples of the patients.

    Args:
        pairs: (reference, other) of each seed.

    Raises:
        EvaluationError: as ``estimate_of``, naming what differs.
    """
    how = how or How()
    reference, other = [a for a, _ in pairs], [b for _, b in pairs]
    require_comparable([*reference, *other])
    subject = _pair_subject("difference", pairs) | {"resamples": how.resamples, "seed": how.seed}

    def compute() -> Difference:
        sides = [[archive.matched(one) for one in side] for side in (reference, other)]
        return compare(sides[0], sides[1], resamples=how.resamples, seed=how.seed)

    return kept(store, "difference", subject, Difference, compute)


def _pair_subject(kind: str, pairs: Sequence[tuple[Judged, Judged]]) -> dict[str, Any]:
    """As ``subject_of``; the references stand first."""
    return subject_of(kind, [*(a for a, _ in pairs), *(b for _, b in pairs)]) | {"pairs": len(pairs)}


def alike_of(
    store: Store, archive: Archive, pairs: Sequence[tuple[Judged, Judged]], agreeing: Agreeing | None = None
) -> Alike:
    """How far two arms detect the same, and where not, summed over the seeds. Raises as ``difference_of``."""
    agreeing = agreeing or Agreeing()
    require_comparable([one for pair in pairs for one in pair])
    threshold = agreeing.threshold or pairs[0][0].protocol.threshold
    between = {"score": agreeing.score, "between": [agreeing.overlap, threshold]}
    subject = _pair_subject("agreement", pairs) | between
    return kept(store, "agreement", subject, Alike, lambda: _alike(archive, pairs, agreeing, threshold))


def _alike(archive: Archive, pairs: Sequence[tuple[Judged, Judged]], agreeing: Agreeing, threshold: float) -> Alike:
    truth, protocol, score = archive.truth(pairs[0][0]), pairs[0][0].protocol, agreeing.score
    counts = np.zeros((len(truth.categories), 3), dtype=np.int64)
    gains: Counter[str] = Counter()
    for a, b in pairs:
        first, second = archive.detections(a), archive.detections(b)
        shared = agreement(first, second, truth.categories, score=score, overlap=agreeing.overlap, threshold=threshold)
        counts += np.array([[s.both, s.first, s.second] for s in shared], dtype=np.int64).reshape(counts.shape)
        gains.update(
            dict(
                most_different(
                    first,
                    second,
                    truth,
                    score=score,
                    overlap=protocol.overlap,
                    threshold=protocol.threshold,
                    most=len(truth.studies),
                )
            )
        )
    order = sorted((study for study in gains if gains[study]), key=lambda study: (-abs(gains[study]), study))
    named = zip(truth.categories, counts.tolist(), strict=True)
    return Alike(
        score,
        agreeing.overlap,
        threshold,
        tuple(Shared(label, *row) for label, row in named),
        tuple((study, gains[study]) for study in order[:MOST_STUDIES]),
    )


def profile_of(
    store: Store, archive: Archive, judged: Judged, scores: Sequence[float], how: How | None = None
) -> Profile:
    """Operating points at ``scores`` and FROC, both with intervals; the confusion at the last score; calibration.

    Raises:
        EvaluationError: no score in [0, 1], or as ``estimate_of``.
    """
    check_scores(scores)
    how = how or How()
    draws = {"resamples": how.resamples, "seed": how.seed}
    subject = subject_of("thresholds", [judged]) | {"scores": list(scores)} | draws

    def compute() -> Profile:
        matched, protocol = archive.matched(judged), judged.protocol
        counted = matched.counted[0]
        return Profile(
            operating(matched, scores),
            froc(matched),
            confusion(
                archive.detections(judged),
                archive.truth(judged),
                score=scores[-1],
                overlap=protocol.overlap,
                threshold=protocol.threshold,
                max_detections=protocol.max_detections,
            ),
            calibration(matched.score[counted], matched.hit[0][counted]),
            operating_bands(matched, scores, resamples=how.resamples, seed=how.seed),
            froc_bands(matched, resamples=how.resamples, seed=how.seed),
        )

    return kept(store, "thresholds", subject, Profile, compute)


def coco_of(store: Store, archive: Archive, judged: Judged) -> CocoSet:
    """COCO's twelve figures under the protocol's overlap (its threshold and number play no part)."""
    subject = subject_of("coco", [judged])
    del subject["threshold"], subject["max_detections"]

    def compute() -> CocoSet:
        return coco_set(archive.detections(judged), archive.truth(judged), overlap=judged.protocol.overlap)

    return kept(store, "coco", subject, CocoSet, compute)
