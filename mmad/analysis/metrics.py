"""Intervals, thresholds and comparisons of kept checkpoints, each computed once and kept in the store.

Example:

    with Store.open("db/mmad.sqlite") as store:
        one = judge(store, find_run(store, "quickstart/default/CXR"), How())
        print(estimate_of(store, Archive(), [one]).estimate.ap)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmad.analysis.cache import cached
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget, require_comparable
from mmad.base.errors import EvaluationError
from mmad.base.records import CheckpointKind, Detections, EvaluationRecord
from mmad.evaluation import coco
from mmad.evaluation.agreement import SharedBoxes, agreement, most_different
from mmad.evaluation.bootstrap import Difference, IntervalEstimate, compare, estimate
from mmad.evaluation.coco import Overlap
from mmad.evaluation.coco_summary import CocoSet, coco_set
from mmad.evaluation.detections_file import version_of, write_detections
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import (
    Calibration,
    Confusion,
    Froc,
    FrocInterval,
    OperatingInterval,
    OperatingPoint,
    RecallCurve,
    calibration,
    check_scores,
    confusion,
    froc,
    froc_intervals,
    operating_intervals,
    operating_points,
    recall_curve,
)
from mmad.store.store import Store

#: The score from which two runs' detections are held against each other.
AGREEMENT_SCORE = 0.3
#: As many studies are named on which two runs differ most.
MOST_STUDIES = 12


@dataclass(frozen=True)
class MeasuredRun:
    """AP and AR with intervals, and what they were measured on."""

    estimate: IntervalEstimate
    images: int
    patients: int


@dataclass(frozen=True)
class Profile:
    """What score thresholds do; ``confusion`` is at the last of them, ``calibration`` of all detections.

    ``bands`` and ``froc_band`` are the intervals of ``rows`` and ``froc``.
    """

    rows: tuple[OperatingPoint, ...]
    froc: Froc
    confusion: Confusion
    calibration: Calibration
    bands: tuple[OperatingInterval, ...]
    froc_band: FrocInterval


@dataclass(frozen=True)
class AgreementOptions:
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
                f"agreement at an overlap of {self.threshold}", hint="use a number above 0 and up to 1"
            )


@dataclass(frozen=True)
class PairAgreement:
    """Detections of at least ``score`` that two arms share, and the studies on which they differ most."""

    score: float
    overlap: str
    threshold: float
    shared: tuple[SharedBoxes, ...]  # counts summed over the seeds
    studies: tuple[tuple[str, int], ...]  # hits less false alarms of the other less the reference's, largest first


def subject_of(kind: str, judged: Sequence[EvaluationTarget]) -> dict[str, Any]:
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


def estimate_of(
    store: Store, archive: DetectionStore, seeds: Sequence[EvaluationTarget], how: EvaluationOptions | None = None
) -> MeasuredRun:
    """AP and AR with 95 % intervals over the patients; several runs are seeds of one setting.

    Raises:
        EvaluationError: detections that are missing or cannot be judged, or runs that differ in more than the seed.
        DataError: a data set that is gone or changed.
    """
    how = how or EvaluationOptions()
    require_comparable(seeds)
    subject = subject_of("estimate", seeds) | {"resamples": how.resamples, "seed": how.seed}

    def compute() -> MeasuredRun:
        runs = [archive.matched(one) for one in seeds]
        found = estimate(runs, resamples=how.resamples, seed=how.seed)
        return MeasuredRun(found, len(runs[0].patients), len(set(runs[0].patients)))

    return cached(store, "estimate", subject, MeasuredRun, compute)


def difference_of(
    store: Store,
    archive: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    how: EvaluationOptions | None = None,
) -> Difference:
    """The other arm less the reference, paired by seed on the same resamples of the patients.

    Args:
        pairs: (reference, other) of each seed.

    Raises:
        EvaluationError: as ``estimate_of``, naming what differs.
    """
    how = how or EvaluationOptions()
    reference, other = [a for a, _ in pairs], [b for _, b in pairs]
    require_comparable([*reference, *other])
    subject = _pair_subject("difference", pairs) | {"resamples": how.resamples, "seed": how.seed}

    def compute() -> Difference:
        sides = [[archive.matched(one) for one in side] for side in (reference, other)]
        return compare(sides[0], sides[1], resamples=how.resamples, seed=how.seed)

    return cached(store, "difference", subject, Difference, compute)


def _pair_subject(kind: str, pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]]) -> dict[str, Any]:
    """As ``subject_of``; the references stand first."""
    return subject_of(kind, [*(a for a, _ in pairs), *(b for _, b in pairs)]) | {"pairs": len(pairs)}


def agreement_of(
    store: Store,
    archive: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    agreeing: AgreementOptions | None = None,
) -> PairAgreement:
    """How far two arms detect the same, and where not, summed over the seeds. Raises as ``difference_of``."""
    agreeing = agreeing or AgreementOptions()
    require_comparable([one for pair in pairs for one in pair])
    threshold = agreeing.threshold or pairs[0][0].protocol.threshold
    between = {"score": agreeing.score, "between": [agreeing.overlap, threshold]}
    subject = _pair_subject("agreement", pairs) | between
    return cached(store, "agreement", subject, PairAgreement, lambda: _alike(archive, pairs, agreeing, threshold))


def _alike(
    archive: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    agreeing: AgreementOptions,
    threshold: float,
) -> PairAgreement:
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
    return PairAgreement(
        score,
        agreeing.overlap,
        threshold,
        tuple(SharedBoxes(label, *row) for label, row in named),
        tuple((study, gains[study]) for study in order[:MOST_STUDIES]),
    )


def profile_of(
    store: Store,
    archive: DetectionStore,
    judged: EvaluationTarget,
    scores: Sequence[float],
    how: EvaluationOptions | None = None,
) -> Profile:
    """Operating points at ``scores`` and FROC, both with intervals; the confusion at the last score; calibration.

    Raises:
        EvaluationError: no score in [0, 1], or as ``estimate_of``.
    """
    check_scores(scores)
    how = how or EvaluationOptions()
    draws = {"resamples": how.resamples, "seed": how.seed}
    subject = subject_of("thresholds", [judged]) | {"scores": list(scores)} | draws

    def compute() -> Profile:
        matched, protocol = archive.matched(judged), judged.protocol
        counted = matched.counted[0]
        return Profile(
            operating_points(matched, scores),
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
            operating_intervals(matched, scores, resamples=how.resamples, seed=how.seed),
            froc_intervals(matched, resamples=how.resamples, seed=how.seed),
        )

    return cached(store, "thresholds", subject, Profile, compute)


def coco_of(store: Store, archive: DetectionStore, judged: EvaluationTarget) -> CocoSet:
    """COCO's twelve figures under the protocol's overlap (its threshold and number play no part)."""
    subject = subject_of("coco", [judged])
    del subject["threshold"], subject["max_detections"]

    def compute() -> CocoSet:
        return coco_set(archive.detections(judged), archive.truth(judged), overlap=judged.protocol.overlap)

    return cached(store, "coco", subject, CocoSet, compute)


# AP and AR of the masks of a kept checkpoint, computed once and kept in the store.


@dataclass(frozen=True)
class MaskFigures:
    """AP and AR of masks with 95 % intervals over patients, and COCO's twelve figures, under the boxes' protocol."""

    estimate: IntervalEstimate
    coco: CocoSet


@dataclass(frozen=True)
class _Kept:
    """Nothing where the detections were kept without masks."""

    figures: MaskFigures | None


def has_masks(judged: EvaluationTarget) -> bool:
    """Whether the run's detector has a mask head."""
    setup = judged.run.setup
    return bool(setup.get("use_mask")) or not setup.get("use_custom_model", True)


def masks_of(
    store: Store, archive: DetectionStore, judged: EvaluationTarget, how: EvaluationOptions | None = None
) -> MaskFigures | None:
    """The figures of the masks; None for a run without a mask head, or whose masks were not kept.

    Raises:
        EvaluationError: as ``analysis.estimate_of``.
    """
    if not has_masks(judged):
        return None
    how = how or EvaluationOptions()
    subject = subject_of("masks", [judged]) | {"resamples": how.resamples, "seed": how.seed}
    return cached(store, "masks", subject, _Kept, lambda: _Kept(_figures(archive, judged, how))).figures


def _figures(archive: DetectionStore, judged: EvaluationTarget, how: EvaluationOptions) -> MaskFigures | None:
    truth, detections, protocol = archive.truth(judged), archive.detections(judged), judged.protocol
    if detections.masks is None:
        return None
    matched = match(
        detections,
        truth,
        overlap=protocol.overlap,
        thresholds=(protocol.threshold,),
        max_detections=protocol.max_detections,
        on="masks",
    )
    sure = estimate([matched], resamples=how.resamples, seed=how.seed)
    return MaskFigures(sure, coco_set(detections, truth, overlap=protocol.overlap, on="masks"))


# AP and AR of kept checkpoints under protocols that the training did not measure, as rows of the store.


def keep_detections(store: Store, archive: DetectionStore, judged: EvaluationTarget, detections: Detections) -> None:
    """Keep detections that were made again, and the AP and AR of them under both overlaps.

    Raises:
        EvaluationError: they are not finite (naming the study), or the disk refuses.
    """
    write_detections(judged.file, detections)
    store.put_evaluations(judged.run.key, _evaluations(store, archive, judged, detections))


def note_evaluation(store: Store, archive: DetectionStore, judged: EvaluationTarget) -> None:
    """Record AP and AR under the protocol where they are not: the training judges at 0.5 and 10 detections alone."""
    asked = judged.protocol.model_dump(mode="json")
    place = (judged.checkpoint.kind, judged.checkpoint.epoch, judged.split)
    for row in store.evaluations(judged.run.key):
        if (row.kind, row.epoch, row.split) == place and all(getattr(row, n) == v for n, v in asked.items()):
            return
    if not store.read_only:
        found = _evaluations(store, archive, judged, archive.detections(judged))
        store.put_evaluations(judged.run.key, found)


def _evaluations(
    store: Store, archive: DetectionStore, judged: EvaluationTarget, detections: Detections
) -> list[EvaluationRecord]:
    """One record per overlap and kind of checkpoint that the epoch is."""
    truth, protocol = archive.truth(judged), judged.protocol
    epoch = judged.checkpoint.epoch
    kinds: list[CheckpointKind] = [
        c.kind for c in store.checkpoints(judged.run.key) if c.epoch == epoch and c.kind != "last"
    ]
    records = []
    threshold, most = protocol.threshold, protocol.max_detections
    for overlap, scores in coco.scores_by_overlap(detections, truth, threshold=threshold, max_detections=most).items():
        records += [
            EvaluationRecord(
                kind=kind,
                epoch=epoch,
                split=judged.split,
                overlap=overlap,
                threshold=protocol.threshold,
                max_detections=protocol.max_detections,
                proposals=protocol.proposals,
                ap=scores.ap,
                ar=scores.ar,
                per_class=tuple((c.label, c.ap, c.ar) for c in scores.per_class),
                detections=store.run_paths(judged.run.key).relative(judged.file),
            )
            for kind in kinds
        ]
    return records


# What a report asks of every run and of every pair of arms; computed where it was not kept.


#: Score thresholds of the documented log's gap table.
SCORES = (0.05, 0.1, 0.3)


def run_statistics(
    store: Store, archive: DetectionStore, judged: EvaluationTarget, how: EvaluationOptions
) -> Iterator[dict[str, Any]]:
    """The figures of one run, one after another, under the names that ``SureRun`` has for them.

    Raises:
        EvaluationError: detections that are missing or cannot be judged.
        DataError: a data set that is gone or changed.
    """
    yield {"measured": estimate_of(store, archive, [judged], how)}
    yield {"profile": profile_of(store, archive, judged, SCORES, how)}
    yield {"curve": curve_of(store, archive, judged)}
    if has_masks(judged):
        yield {"masks": masks_of(store, archive, judged, how)}


def pair_statistics(
    store: Store,
    archive: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    how: EvaluationOptions,
) -> Iterator[dict[str, Any]]:
    """Likewise those of two arms, (reference, other) of each seed, under the names of ``SurePair``."""
    yield {"difference": difference_of(store, archive, pairs, how)}
    yield {"reference": estimate_of(store, archive, [a for a, _ in pairs], how)}
    yield {"other": estimate_of(store, archive, [b for _, b in pairs], how)}


def curve_of(store: Store, archive: DetectionStore, judged: EvaluationTarget) -> RecallCurve:
    """Precision by recall, kept like every analysis. Raises as ``analysis.estimate_of``."""
    subject = subject_of("precision", [judged])
    return cached(store, "precision", subject, RecallCurve, lambda: recall_curve(archive.matched(judged)))
