"""Intervals, thresholds and differences of kept checkpoints, each computed once and cached in the store.

Example:

    with Store.open("db/mmad.sqlite") as store:
        target = evaluation_target(store, find_run(store, "quickstart/default/CXR"), EvaluationOptions())
        print(estimate_of(store, DetectionStore(), [target]).estimate.ap)
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from mmad.analysis.cache import cached
from mmad.analysis.comparison import MeasuredRun, PairAgreement, require_comparable
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    EvaluationTarget,
    TargetPairs,
    by_fold,
    fold_of,
    matched_under,
    on_validation,
)
from mmad.base.errors import EvaluationError
from mmad.base.records import AnalysisRecord, CheckpointKind, Detections, EvaluationRecord
from mmad.config.protocol import Fold
from mmad.data.folds import held_out_ratio, shared_training
from mmad.evaluation import coco
from mmad.evaluation.agreement import SharedBoxes, agreement, most_different
from mmad.evaluation.coco import Overlap
from mmad.evaluation.coco_summary import CocoSet, coco_set
from mmad.evaluation.cross_validation import over_folds, pooled_ap
from mmad.evaluation.detections_file import version_of, write_detections
from mmad.evaluation.diagnosis import (
    FALSE_POSITIVES,
    Detected,
    FindingCounts,
    FrocMerit,
    ScoreCalibration,
    counts_at,
    detected,
    score_allowing,
    score_calibration,
    wafroc,
)
from mmad.evaluation.differences import FoldedSample, PairSample, pair_sample
from mmad.evaluation.intervals import IntervalEstimate, estimate
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
from mmad.evaluation.resampling import Interval
from mmad.evaluation.tide import ErrorCosts, error_costs
from mmad.store.lookup import evaluation_under
from mmad.store.store import Store

T = TypeVar("T")
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
    runs = [run for one in targets for run in one.seeds or (one,)]
    return {
        "runs": [one.run.key for one in runs],
        "epochs": [one.checkpoint.epoch for one in runs],
        "detections": [one.digest() for one in targets],
        "checkpoint": first.checkpoint.kind,
        "split": first.split,
        **({} if first.outside is None else {"outside": first.outside.fingerprint}),
        **({"reader": first.reader} if first.reader else {}),
        **first.protocol.model_dump(mode="json"),
        "version": version_of(kind),
    }


def is_of(record: AnalysisRecord, subject: Mapping[str, object]) -> bool:
    """Whether a cached analysis has all of ``subject`` in its own, and is of one reader only where ``subject`` is."""
    same = all(record.subject.get(name) == value for name, value in subject.items())
    return same and record.subject.get("reader") == subject.get("reader")


def cached_result(
    store: Store,
    detections: DetectionStore,
    kind: str,
    targets: Sequence[EvaluationTarget],
    record: type[T],
    compute: Callable[[], T],
    **more: Any,
) -> T:
    """The result of ``compute``, cached; ``more`` also decides it. Raises as ``DetectionStore.check_named_folder``."""
    detections.check_named_folder(targets)
    return cached(store, kind, subject_of(kind, targets) | more, record, compute)


def estimate_of(store: Store, detections: DetectionStore, seeds: Sequence[EvaluationTarget]) -> MeasuredRun:
    """AP and AR with 95 % intervals over the patients; several runs are seeds of one setting.

    Seeds of several folds are averaged within each, and the figure is the mean over the folds; on an external data set
    these have common patients.

    Raises:
        EvaluationError: detections that are missing or cannot be evaluated, or runs that differ in more than the seed.
        DataError: a data set that is gone or changed.
    """
    folds = by_fold(seeds)
    if len(folds) > 1 and seeds[0].outside is None:
        return _over_folds(store, detections, folds)
    require_comparable(seeds)
    more: dict[str, Any] = {}
    if len(folds) > 1:
        numbers = [fold for one in seeds if (fold := fold_of(one.run)) is not None]
        more = {"folds": [fold.number for fold in numbers], "shared_training": shared_training(numbers[0].of)}

    def compute() -> MeasuredRun:
        runs = [detections.matched(one) for one in seeds]
        return MeasuredRun(estimate(runs, **more), len(runs[0].patients), len(set(runs[0].patients)))

    return cached_result(store, detections, "estimate", seeds, MeasuredRun, compute, **more)


def _over_folds(store: Store, detections: DetectionStore, folds: Sequence[Sequence[EvaluationTarget]]) -> MeasuredRun:
    """The mean over folds, and the AP of their detections pooled, averaged over the seeds that all folds have."""
    each = [estimate_of(store, detections, seeds) for seeds in folds]
    found, fold = [one.estimate for one in each], fold_of(folds[0][0].run)
    assert fold is not None
    ratio = held_out_ratio(fold.of)

    def over(intervals: Iterable[Interval]) -> Interval:
        return over_folds([one.value for one in intervals], ratio)

    findings = zip(*(one.per_class for one in found), strict=True)
    per_class = tuple((rows[0][0], over(r[1] for r in rows), over(r[2] for r in rows)) for rows in findings)
    values = [one.ap.value for one in found]
    mean = IntervalEstimate(
        over(one.ap for one in found), over(one.ar for one in found), per_class, statistics.stdev(values)
    )

    def compute() -> _Pooled:
        rounds = zip(*folds, strict=False)
        return _Pooled(statistics.fmean(pooled_ap([detections.matched(one) for one in targets]) for targets in rounds))

    every = [one for seeds in folds for one in seeds]
    pooled = cached_result(store, detections, "pooled", every, _Pooled, compute).ap
    return MeasuredRun(mean, sum(one.images for one in each), sum(one.patients for one in each), pooled)


@dataclass(frozen=True)
class _Pooled:
    ap: float


def folded_sample_of(
    store: Store,
    detections: DetectionStore,
    pairs: TargetPairs,
    options: EvaluationOptions | None = None,
    by_design: Iterable[str] = (),
) -> FoldedSample:
    """Two arms fold by fold, and in each seed by seed; arguments and errors as of ``sample_of``."""
    return over_each_fold(pairs, lambda part: sample_of(store, detections, part, options, by_design))


def over_each_fold(pairs: TargetPairs, sample: Callable[[TargetPairs], PairSample]) -> FoldedSample:
    """The ``sample`` of the pairs of each fold."""
    folds: dict[Fold, list[tuple[EvaluationTarget, EvaluationTarget]]] = {}
    for pair in pairs:
        fold = fold_of(pair[0].run)
        assert fold is not None
        folds.setdefault(fold, []).append(pair)
    of = next(iter(folds)).of
    return FoldedSample(tuple(map(sample, folds.values())), of, held_out_ratio(of))


def sample_of(
    store: Store,
    detections: DetectionStore,
    pairs: TargetPairs,
    options: EvaluationOptions | None = None,
    by_design: Iterable[str] = (),
) -> PairSample:
    """Two arms seed by seed on one test split, and what each patient does to their difference.

    Args:
        pairs: (reference, other) of each seed.
        by_design: conditions in which the two may differ (``Comparison.by_design``).

    Raises:
        EvaluationError: as ``estimate_of``, naming what differs.
    """
    options = options or EvaluationOptions()
    reference, other = [a for a, _ in pairs], [b for _, b in pairs]
    require_comparable([*reference, *other], by_design)

    def compute() -> PairSample:
        sides = [[detections.matched(one) for one in side] for side in (reference, other)]
        return pair_sample(sides[0], sides[1], resamples=options.resamples, seed=options.seed)

    draws = {"resamples": options.resamples, "seed": options.seed}
    both = [*reference, *other]
    return cached_result(store, detections, "difference", both, PairSample, compute, pairs=len(pairs), **draws)


def agreement_of(
    store: Store,
    detections: DetectionStore,
    pairs: TargetPairs,
    same: AgreementOptions | None = None,
    by_design: Iterable[str] = (),
) -> PairAgreement:
    """How far two arms detect the same, and where not, summed over seeds and folds. Raises as ``sample_of``."""
    same = same or AgreementOptions()
    for part in by_fold([one for pair in pairs for one in pair]):
        require_comparable(part, by_design)
    threshold = same.threshold or pairs[0][0].protocol.threshold
    more = {"pairs": len(pairs), "score": same.score, "between": [same.overlap, threshold]}

    def compute() -> PairAgreement:
        return _agreement(detections, pairs, same, threshold)

    both = [*(a for a, _ in pairs), *(b for _, b in pairs)]
    return cached_result(store, detections, "agreement", both, PairAgreement, compute, **more)


def _agreement(
    detections: DetectionStore, pairs: TargetPairs, same: AgreementOptions, threshold: float
) -> PairAgreement:
    categories, protocol, score = detections.truth(pairs[0][0]).categories, pairs[0][0].protocol, same.score
    counts = np.zeros((len(categories), 3), dtype=np.int64)
    gains: Counter[str] = Counter()
    for a, b in pairs:
        truth = detections.truth(a)
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
    named = zip(categories, counts.tolist(), strict=True)
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
) -> Profile:
    """Operating points at ``scores`` and FROC, both with intervals; the confusion at the last score; calibration.

    Raises:
        EvaluationError: no score in [0, 1], or as ``estimate_of``.
    """
    check_scores(scores)

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
            operating_intervals(matched, scores),
            froc_intervals(matched),
        )

    return cached_result(store, detections, "thresholds", [target], Profile, compute, scores=list(scores))


@dataclass(frozen=True)
class Diagnosis:
    """Beside AP: images, patients and boxes at a score that was fixed on validation, wAFROC, calibration, errors.

    ``score`` is None where validation's detections are not kept, and ``why`` says so; ``counts`` are then empty.
    """

    false_positives: float  # per image that the rule allows on validation
    score: float | None
    why: str
    counts: tuple[FindingCounts, ...]
    images: tuple[Detected, ...]
    patients: tuple[Detected, ...]
    wafroc: tuple[FrocMerit, ...]
    calibration: tuple[ScoreCalibration, ...]
    errors: ErrorCosts

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"at most {self.false_positives:g} false positives per image on validation"


def diagnosis_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    false_positives: float = FALSE_POSITIVES,
    validation: EvaluationTarget | None = None,
) -> Diagnosis:
    """What a checkpoint says of images and patients, at the lowest score that the rule allows on validation.

    Args:
        false_positives: per image that validation may have.
        validation: the same checkpoint there, where it is known.

    Raises:
        EvaluationError: a rate below 0, or as ``estimate_of``.
    """
    if not 0 <= false_positives < math.inf:
        raise EvaluationError(
            f"{false_positives:g} false positives per image", hint="use a number of at least 0, such as 0.5"
        )
    validation, why = validation or on_validation(store, target), ""
    try:
        digest = validation.digest()
    except EvaluationError as error:
        digest, why = "", str(error)

    def compute() -> Diagnosis:
        score = score_allowing(detections.matched(validation), false_positives) if digest else None
        matched = detections.matched(target)
        return Diagnosis(
            false_positives,
            score,
            why,
            () if score is None else counts_at(matched, score),
            detected(matched, score),
            detected(matched, score, by_patient=True),
            wafroc(matched),
            score_calibration(matched),
            error_costs(matched, detections.read(target), detections.truth(target), overlap=target.protocol.overlap),
        )

    more = {"false_positives": false_positives, "validation": digest}
    return cached_result(store, detections, "diagnosis", [target], Diagnosis, compute, **more)


def coco_of(store: Store, detections: DetectionStore, target: EvaluationTarget) -> CocoSet:
    """COCO's twelve figures under the protocol's overlap (its threshold and number play no part)."""
    detections.check_named_folder([target])
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


def masks_of(store: Store, detections: DetectionStore, target: EvaluationTarget) -> MaskFigures | None:
    """The figures of the masks; None for a run without a mask head, or whose masks were not kept, and an ensemble.

    Raises:
        EvaluationError: as ``estimate_of``.
    """
    if not has_masks(target) or target.outside is not None or target.seeds:
        return None

    def compute() -> _MaskResult:
        return _MaskResult(_figures(detections, target))

    return cached_result(store, detections, "masks", [target], _MaskResult, compute).figures


def _figures(detections: DetectionStore, target: EvaluationTarget) -> MaskFigures | None:
    truth, found, protocol = detections.truth(target), detections.read(target), target.protocol
    if found.masks is None:
        return None
    matched = matched_under(protocol, found, truth, "masks")
    return MaskFigures(estimate([matched]), coco_set(found, truth, overlap=protocol.overlap, on="masks"))


# AP and AR of kept checkpoints under protocols that the training did not measure, as rows of the store.


def keep_detections(store: Store, detections: DetectionStore, target: EvaluationTarget, found: Detections) -> None:
    """Keep detections that inference was re-run for, and their AP and AR under both overlaps.

    Raises:
        EvaluationError: they are not finite (naming the study), or the disk refuses.
    """
    if target.outside is not None:
        missing = [target.outside.dataset.labels.index(label) + 1 for label in target.outside.unlabelled]
        looked = ~np.isin(found.labels, missing)
        kept = {name: getattr(found, name)[looked] for name in ("study", "boxes", "scores", "labels")}
        write_detections(target.file, Detections(found.studies, **kept))
        return
    write_detections(target.file, found)
    store.put_evaluations(target.run.key, _evaluations(store, detections, target, found))


def note_evaluation(store: Store, detections: DetectionStore, target: EvaluationTarget) -> None:
    """Record AP and AR under the protocol where they are not: the training measures at 0.5 and 10 detections alone."""
    if target.outside is not None or target.seeds:  # the cached estimate, under its own subject, is its record
        return
    asked = target.protocol.model_dump(mode="json")
    place = (target.checkpoint.kind, target.checkpoint.epoch, target.split)
    if evaluation_under(asked, store.evaluations(target.run.key), *place) is not None:
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
    store: Store, detections: DetectionStore, target: EvaluationTarget, validation: EvaluationTarget | None = None
) -> Iterator[dict[str, Any]]:
    """The figures of one run, one after another, under their names in ``RunStatistics``.

    Args:
        validation: as of ``diagnosis_of``.

    Raises:
        EvaluationError: detections that are missing or cannot be evaluated.
        DataError: a data set that is gone or changed.
    """
    yield {"measured": estimate_of(store, detections, [target])}
    yield {"profile": profile_of(store, detections, target, SCORES)}
    yield {"curve": curve_of(store, detections, target)}
    yield {"diagnosis": diagnosis_of(store, detections, target, validation=validation)}
    if has_masks(target):
        yield {"masks": masks_of(store, detections, target)}


def pair_statistics(
    store: Store,
    detections: DetectionStore,
    pairs: TargetPairs,
    options: EvaluationOptions,
    by_design: Iterable[str] = (),
    *,
    folded: bool = False,
) -> Iterator[dict[str, Any]]:
    """Likewise of two arms, (reference, other) of each seed, under their names in ``PairStatistics``."""
    yield {"reference": estimate_of(store, detections, [a for a, _ in pairs])}
    yield {"other": estimate_of(store, detections, [b for _, b in pairs])}
    of = folded_sample_of if folded else sample_of
    yield {"sample": of(store, detections, pairs, options, by_design)}


def curve_of(store: Store, detections: DetectionStore, target: EvaluationTarget) -> RecallCurve:
    """Precision by recall. Raises as ``estimate_of``."""

    def compute() -> RecallCurve:
        return recall_curve(detections.matched(target))

    return cached_result(store, detections, "precision", [target], RecallCurve, compute)
