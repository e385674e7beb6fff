"""AP and AR of the masks of a kept checkpoint, computed once and kept in the store."""

from __future__ import annotations

from dataclasses import dataclass

from mmad.evaluation.coco_set import CocoSet, coco_set
from mmad.evaluation.intervals import Estimate, estimate
from mmad.evaluation.matching import match
from mmad.report.analysis import subject_of
from mmad.report.judged import Archive, How, Judged
from mmad.report.keeping import kept
from mmad.store.gateway import Store


@dataclass(frozen=True)
class MaskFigures:
    """AP and AR of masks with 95 % intervals over patients, and COCO's twelve figures, under the boxes' protocol."""

    estimate: Estimate
    coco: CocoSet


@dataclass(frozen=True)
class _Kept:
    """Nothing where the detections were kept without masks."""

    figures: MaskFigures | None


def has_masks(judged: Judged) -> bool:
    """Whether the run's detector has a mask head."""
    setup = judged.run.setup
    return bool(setup.get("use_mask")) or not setup.get("use_custom_model", True)


def masks_of(store: Store, archive: Archive, judged: Judged, how: How | None = None) -> MaskFigures | None:
    """The figures of the masks; None for a run without a mask head, or whose masks were not kept.

    Raises:
        EvaluationError: as ``analysis.estimate_of``.
    """
    if not has_masks(judged):
        return None
    how = how or How()
    subject = subject_of("masks", [judged]) | {"resamples": how.resamples, "seed": how.seed}
    return kept(store, "masks", subject, _Kept, lambda: _Kept(_figures(archive, judged, how))).figures


def _figures(archive: Archive, judged: Judged, how: How) -> MaskFigures | None:
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
