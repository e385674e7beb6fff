"""AP and AR of boxes and, where there are any, of masks, by every overlap."""

from __future__ import annotations

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap, Scores, evaluate
from mmad.evaluation.masks import Outline

OVERLAPS: tuple[Overlap, ...] = ("iou", "iobb")


def judged(
    detections: Detections, truth: GroundTruth, *, threshold: float = 0.5, max_detections: int = 10
) -> dict[str, Scores]:
    """Scores by ``iou`` and ``iobb``; of detections with masks also by ``mask_iou`` and ``mask_iobb``.

    Raises:
        EvaluationError: as ``mmad.evaluation.coco.evaluate``.
    """
    outlines: tuple[tuple[str, Outline], ...] = (("", "boxes"),)
    if detections.masks is not None:
        outlines += (("mask_", "masks"),)
    return {
        prefix + overlap: evaluate(
            detections, truth, overlap=overlap, threshold=threshold, max_detections=max_detections, on=on
        )
        for prefix, on in outlines
        for overlap in OVERLAPS
    }
