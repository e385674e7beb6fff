"""Intervals, thresholds and differences of kept checkpoints, each computed once and cached in the store.

Example:

    with Store.open("db/mmad.sqlite") as store:
        target = evaluation_target(store, find_run(store, "quickstart/default/CXR"), EvaluationOptions())
        print(estimate_of(store, DetectionStore(), [target]).estimate.ap)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmad.analysis.cache import cached
from mmad.analysis.comparison import MeasuredRun, PairAgreement, require_comparable
from mmad.analysis.targets import DetectionStore, EvaluationOptions, EvaluationTarget
from mmad.base.errors import EvaluationError
from mmad.base.records import CheckpointKind, Detections, EvaluationRecord
from mmad.evaluation import coco
from mmad.evaluation.agreement import SharedBoxes, agreement, most_different
from mmad.evaluation.coco import Overlap
from mmad.evaluation.coco_summary import CocoSet, coco_set
from mmad.evaluation.detections_file import version_of, write_detections
from mmad.evaluation.differences import PairSample, pair_sample
from mmad.evaluation.intervals import IntervalEstimate, estimate
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

#: The score from which two runs' detections are compared with each other.
AGREEMENT_SCORE = 0.3
#: As many studies are named on which two runs differ most.
MOST_STUDIES = 12


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


def subject_of(kind: str, targets: Sequence[EvaluationTarget]) -> dict[str, Any]:
    """Plain JSON of what an analysis of ``kind`` is of: all under the first one's protocol, split and checkpoint."""
    first = targets[0]
    return {
        "runs": [one.run.key for one in targets],
        "epochs": [one.checkpoint.epoch for one in targets],
        "detections": [one.digest() for one in targets],
        "checkpoint": first.checkpoint.kind,
        "split": first.split,
        **first.protocol.model_dump(mode="json"),
        "version": version_of(kind),
    }


def estimate_of(
    store: Store,
    detections: DetectionStore,
    seeds: Sequence[EvaluationTarget],
    options: EvaluationOptions | None = None,
) -> MeasuredRun:
    """AP and AR with 95 % intervals over the patients; several runs are seeds of one setting.

    Raises:
        EvaluationError: detections that are missing or cannot be evaluated, or runs that differ in more than the seed.
        DataError: a data set that is gone or changed.
    """
    options = options or EvaluationOptions()
    require_comparable(seeds)
    subject = subject_of("estimate", seeds) | {"resamples": options.resamples, "seed": options.seed}

    def compute() -> MeasuredRun:
        runs = [detections.matched(one) for one in seeds]
        found = estimate(runs, resamples=options.resamples, seed=options.seed)
        return MeasuredRun(found, len(runs[0].patients), len(set(runs[0].patients)))

    return cached(store, "estimate", subject, MeasuredRun, compute)


def sample_of(
    store: Store,
    detections: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    options: EvaluationOptions | None = None,
    by_design: Iterable[str] = (),
) -> PairSample:
    """Two arms seed by seed, and what each patient does to their difference.

    Args:
        pairs: (reference, other) of each seed.
        by_design: conditions in which the two may differ (``Comparison.by_design``).

    Raises:
        EvaluationError: as ``estimate_of``, naming what differs.
    """
    options = options or EvaluationOptions()
    reference, other = [a for a, _ in pairs], [b for _, b in pairs]
    require_comparable([*reference, *other], by_design)
    subject = _pair_subject("difference", pairs) | {"resamples": options.resamples, "seed": options.seed}

    def compute() -> PairSample:
        sides = [[detections.matched(one) for one in side] for side in (reference, other)]
        return pair_sample(sides[0], sides[1], resamples=options.resamples, seed=options.seed)

    return cached(store, "difference", subject, PairSample, compute)


def _pair_subject(kind: str, pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]]) -> dict[str, Any]:
    """As ``subject_of``; the references stand first."""
    return subject_of(kind, [*(a for a, _ in pairs), *(b for _, b in pairs)]) | {"pairs": len(pairs)}


def agreement_of(
    store: Store,
    detections: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    same: AgreementOptions | None = None,
    by_design: Iterable[str] = (),
) -> PairAgreement:
    """How far two arms detect the same, and where not, summed over the seeds. Raises as ``sample_of``."""
    same = same or AgreementOptions()
    require_comparable([one for pair in pairs for one in pair], by_design)
    threshold = same.threshold or pairs[0][0].protocol.threshold
    subject = _pair_subject("agreement", pairs) | {"score": same.score, "between": [same.overlap, threshold]}
    return cached(store, "agreement", subject, PairAgreement, lambda: _agreement(detections, pairs, same, threshold))


def _agreement(
    detections: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    same: AgreementOptions,
    threshold: float,
) -> PairAgreement:
    truth, protocol, score = detections.truth(pairs[0][0]), pairs[0][0].protocol, same.score
    counts = np.zeros((len(truth.categories), 3), dtype=np.int64)
    gains: Counter[str] = Counter()
    for a, b in pairs:
        first, second = detections.read(a), detections.read(b)
        shared = agreement(first, second, truth.categories, score=score, overlap=same.overlap, threshold=threshold)
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
        same.overlap,
        threshold,
        tuple(SharedBoxes(label, *row) for label, row in named),
        tuple((study, gains[study]) for study in order[:MOST_STUDIES]),
    )


def profile_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    scores: Sequence[float],
    options: EvaluationOptions | None = None,
) -> Profile:
    """Operating points at ``scores`` and FROC, both with intervals; the confusion at the last score; calibration.

    Raises:
        EvaluationError: no score in [0, 1], or as ``estimate_of``.
    """
    check_scores(scores)
    options = options or EvaluationOptions()
    draws = {"resamples": options.resamples, "seed": options.seed}
    subject = subject_of("thresholds", [target]) | {"scores": list(scores)} | draws

    def compute() -> Profile:
        matched, protocol = detections.matched(target), target.protocol
        counted = matched.counted[0]
        return Profile(
            operating_points(matched, scores),
            froc(matched),
            confusion(
                detections.read(target),
                detections.truth(target),
                score=scores[-1],
                overlap=protocol.overlap,
                threshold=protocol.threshold,
                max_detections=protocol.max_detections,
            ),
            calibration(matched.score[counted], matched.hit[0][counted]),
            operating_intervals(matched, scores, resamples=options.resamples, seed=options.seed),
            froc_intervals(matched, resamples=options.resamples, seed=options.seed),
        )

    return cached(store, "thresholds", subject, Profile, compute)


def coco_of(store: Store, detections: DetectionStore, target: EvaluationTarget) -> CocoSet:
    """COCO's twelve figures under the protocol's overlap (its threshold and number play no part)."""
    subject = subject_of("coco", [target])
    del subject["threshold"], subject["max_detections"]

    def compute() -> CocoSet:
        return coco_set(detections.read(target), detections.truth(target), overlap=target.protocol.overlap)

    return cached(store, "coco", subject, CocoSet, compute)


# AP and AR of the masks of a kept checkpoint.


@dataclass(frozen=True)
class MaskFigures:
    """AP and AR of masks with 95 % intervals over patients, and COCO's twelve figures, under the boxes' protocol."""

    estimate: IntervalEstimate
    coco: CocoSet


@dataclass(frozen=True)
class _MaskResult:
    """Nothing where the detections were kept without masks."""

    figures: MaskFigures | None


def has_masks(target: EvaluationTarget) -> bool:
    """Whether the run's detector has a mask head."""
    setup = target.run.setup
    return bool(setup.get("use_mask")) or not setup.get("use_custom_model", True)


def masks_of(
    store: Store, detections: DetectionStore, target: EvaluationTarget, options: EvaluationOptions | None = None
) -> MaskFigures | None:
    """The figures of the masks; None for a run without a mask head, or whose masks were not kept.

    Raises:
        EvaluationError: as ``estimate_of``.
    """
    if not has_masks(target):
        return None
    options = options or EvaluationOptions()
    subject = subject_of("masks", [target]) | {"resamples": options.resamples, "seed": options.seed}
    found = cached(store, "masks", subject, _MaskResult, lambda: _MaskResult(_figures(detections, target, options)))
    return found.figures


def _figures(detections: DetectionStore, target: EvaluationTarget, options: EvaluationOptions) -> MaskFigures | None:
    truth, found, protocol = detections.truth(target), detections.read(target), target.protocol
    if found.masks is None:
        return None
    matched = match(
        found,
        truth,
        overlap=protocol.overlap,
        thresholds=(protocol.threshold,),
        max_detections=protocol.max_detections,
        on="masks",
    )
    interval = estimate([matched], resamples=options.resamples, seed=options.seed)
    return MaskFigures(interval, coco_set(found, truth, overlap=protocol.overlap, on="masks"))


# AP and AR of kept checkpoints under protocols that the training did not measure, as rows of the store.


def keep_detections(store: Store, detections: DetectionStore, target: EvaluationTarget, found: Detections) -> None:
    """Keep detections that inference was re-run for, and their AP and AR under both overlaps.

    Raises:
        EvaluationError: they are not finite (naming the study), or the disk refuses.
    """
    write_detections(target.file, found)
    store.put_evaluations(target.run.key, _evaluations(store, detections, target, found))


def note_evaluation(store: Store, detections: DetectionStore, target: EvaluationTarget) -> None:
    """Record AP and AR under the protocol where they are not: the training measures at 0.5 and 10 detections alone."""
    asked = target.protocol.model_dump(mode="json")
    place = (target.checkpoint.kind, target.checkpoint.epoch, target.split)
    for row in store.evaluations(target.run.key):
        if (row.kind, row.epoch, row.split) == place and all(getattr(row, n) == v for n, v in asked.items()):
            return
    if not store.read_only:
        found = detections.read(target)
        store.put_evaluations(target.run.key, _evaluations(store, detections, target, found))


def _evaluations(
    store: Store, detections: DetectionStore, target: EvaluationTarget, found: Detections
) -> list[EvaluationRecord]:
    """One record per overlap and kind of checkpoint that the epoch is."""
    truth, protocol = detections.truth(target), target.protocol
    epoch = target.checkpoint.epoch
    kinds: list[CheckpointKind] = [
        c.kind for c in store.checkpoints(target.run.key) if c.epoch == epoch and c.kind != "last"
    ]
    records = []
    threshold, most = protocol.threshold, protocol.max_detections
    for overlap, scores in coco.scores_by_overlap(found, truth, threshold=threshold, max_detections=most).items():
        records += [
            EvaluationRecord(
                kind=kind,
                epoch=epoch,
                split=target.split,
                overlap=overlap,
                threshold=protocol.threshold,
                max_detections=protocol.max_detections,
                proposals=protocol.proposals,
                ap=scores.ap,
                ar=scores.ar,
                per_class=tuple((c.label, c.ap, c.ar) for c in scores.per_class),
                detections=store.run_paths(target.run.key).relative(target.file),
            )
            for kind in kinds
        ]
    return records


# The statistics of every run and of every pair of arms in a report; computed where they are not cached.


#: Score thresholds of the documented log's gap table.
SCORES = (0.05, 0.1, 0.3)


def run_statistics(
    store: Store, detections: DetectionStore, target: EvaluationTarget, options: EvaluationOptions
) -> Iterator[dict[str, Any]]:
    """The figures of one run, one after another, under their names in ``RunStatistics``.

    Raises:
        EvaluationError: detections that are missing or cannot be evaluated.
        DataError: a data set that is gone or changed.
    """
    yield {"measured": estimate_of(store, detections, [target], options)}
    yield {"profile": profile_of(store, detections, target, SCORES, options)}
    yield {"curve": curve_of(store, detections, target)}
    if has_masks(target):
        yield {"masks": masks_of(store, detections, target, options)}


def pair_statistics(
    store: Store,
    detections: DetectionStore,
    pairs: Sequence[tuple[EvaluationTarget, EvaluationTarget]],
    options: EvaluationOptions,
    by_design: Iterable[str] = (),
) -> Iterator[dict[str, Any]]:
    """Likewise of two arms, (reference, other) of each seed, under their names in ``PairStatistics``."""
    yield {"reference": estimate_of(store, detections, [a for a, _ in pairs], options)}
    yield {"other": estimate_of(store, detections, [b for _, b in pairs], options)}
    yield {"sample": sample_of(store, detections, pairs, options, by_design)}


def curve_of(store: Store, detections: DetectionStore, target: EvaluationTarget) -> RecallCurve:
    """Precision by recall. Raises as ``estimate_of``."""
    subject = subject_of("precision", [target])
    return cached(store, "precision", subject, RecallCurve, lambda: recall_curve(detections.matched(target)))
