"""AP and AR of detections as COCO defines them, at one overlap threshold.

The oracle of AP and AR: the figures are pycocotools' own, matching and accumulation run in its ``COCOeval``. What
differs is only where boxes come from (the project's records) and, for ``iobb``, what the overlap of two boxes is.
``mmad.evaluation.matching`` is the engine of what resamples.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.detections_file import check_detections
from mmad.evaluation.masks import Outline, masks_of, rles_of, true_rles

Overlap = Literal["iou", "iobb"]
OVERLAPS: tuple[Overlap, ...] = ("iou", "iobb")


@dataclass(frozen=True)
class ClassScore:
    """AP and AR of one finding; None where the split has no box of it that counts."""

    label: str
    ap: float | None
    ar: float | None


@dataclass(frozen=True)
class Scores:
    """AP and AR over the findings that have ground truth (nan without any), and each finding's own."""

    ap: float
    ar: float
    per_class: tuple[ClassScore, ...]


def evaluate(
    detections: Detections,
    truth: GroundTruth,
    *,
    overlap: Overlap = "iou",
    threshold: float = 0.5,
    max_detections: int = 10,
    on: Outline = "boxes",
) -> Scores:
    """AP and AR of the ``detections`` of one split against ``truth``, in pixels of the original images.

    AP is the mean of the interpolated precision at the 101 recalls 0, 0.01, …, 1; AR the recall that the
    ``max_detections`` best of an image and finding reach. Both are means over the findings with ground truth.
    ``overlap`` is ``iou``, or ``iobb``: intersection over the DETECTED box's area (the documented log's).
    ``on`` "masks" compares the detections' masks with the filled true boxes, in place of the boxes.
    Equal scores keep the order of ``truth.studies``, then of the detections.

    Raises EvaluationError for detections of other studies, unknown labels and numbers that are not finite
    (naming the study). See Lin et al., Microsoft COCO, 2014, and the evaluation code published with it.
    """
    check_detections(detections)
    check_protocol(overlap, threshold, max_detections)
    positions = positions_in(detections, truth)
    coco_eval = _ArrayCOCOeval(
        overlap, threshold, max_detections, images=len(truth.studies), classes=len(truth.categories)
    )
    coco_eval.add_truth(truth)
    coco_eval.add_detections(detections, positions)
    if on == "masks":
        coco_eval.add_masks(truth, detections, positions)
    with contextlib.redirect_stdout(io.StringIO()):
        coco_eval.evaluate()  # type: ignore[no-untyped-call]
        coco_eval.accumulate()  # type: ignore[no-untyped-call]
    precision: NDArray[np.float64] = coco_eval.eval["precision"][0, :, :, 0, 0]  # (101, K)
    recall: NDArray[np.float64] = coco_eval.eval["recall"][0, :, 0, 0]  # (K,)
    counted = recall > -1
    ap = np.where(counted, precision.mean(axis=0), np.nan)
    per_class = tuple(
        ClassScore(label, float(ap[k]), float(recall[k])) if counted[k] else ClassScore(label, None, None)
        for k, label in enumerate(truth.categories)
    )
    if not counted.any():
        return Scores(float("nan"), float("nan"), per_class)
    return Scores(float(ap[counted].mean()), float(recall[counted].mean()), per_class)


class _ArrayCOCOeval(COCOeval):
    """pycocotools' evaluation over arrays instead of COCO files, with a choice of overlap."""

    def __init__(self, overlap: Overlap, threshold: float, max_detections: int, *, images: int, classes: int) -> None:
        super().__init__(iouType="bbox")  # type: ignore[no-untyped-call]
        self.overlap = overlap
        self.outline = "bbox"
        self.params.imgIds = list(range(1, images + 1))
        self.params.catIds = list(range(1, classes + 1))
        self.params.iouThrs = np.array([threshold])
        self.params.maxDets = [max_detections]
        self.params.areaRng = [[0, 1e5**2]]
        self.params.areaRngLbl = ["all"]
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add_truth(self, truth: GroundTruth) -> None:
        ignore = np.zeros(len(truth.labels), dtype=bool) if truth.ignore is None else truth.ignore
        self._truth = _annotations(truth.study, truth.boxes, truth.labels)
        for annotation, crowd in zip(self._truth, ignore.tolist(), strict=True):
            annotation["iscrowd"] = annotation["ignore"] = int(crowd)

    def add_detections(self, detections: Detections, positions: NDArray[np.int64]) -> None:
        self._found = _annotations(positions[detections.study], detections.boxes, detections.labels)
        for annotation, score in zip(self._found, detections.scores.tolist(), strict=True):
            annotation["score"] = score

    def add_masks(self, truth: GroundTruth, detections: Detections, positions: NDArray[np.int64]) -> None:
        masks = masks_of(detections)
        for annotation, rle in zip(self._truth, true_rles(truth, masks, positions), strict=True):
            annotation["segmentation"] = rle
        for annotation, rle in zip(self._found, rles_of(masks), strict=True):
            annotation["segmentation"] = rle
        self.outline = "segmentation"

    def _prepare(self) -> None:
        self._gts = defaultdict(list)
        self._dts = defaultdict(list)
        for annotation in self._truth:
            self._gts[annotation["image_id"], annotation["category_id"]].append(annotation)
        for annotation in self._found:
            self._dts[annotation["image_id"], annotation["category_id"]].append(annotation)

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """Overlaps (detections, truth), the detections by falling score."""
        truth, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truth or not found:
            return []
        if self.overlap == "iou" and self.outline == "bbox":
            return super().computeIoU(imgId, catId)  # type: ignore[no-untyped-call]
        best = np.argsort([-d["score"] for d in found], kind="mergesort")[: self.params.maxDets[-1]]
        # With its crowd flag set, pycocotools divides by the detection's area alone.
        alone = [1 if self.overlap == "iobb" else t["iscrowd"] for t in truth]
        return mask.iou([found[i][self.outline] for i in best], [t[self.outline] for t in truth], alone)


def _annotations(
    study: NDArray[np.int64], boxes: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Boxes in COCO's form; numbers count from 1, because pycocotools takes a match with 0 for none."""
    wide = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    area = wide[:, 2] * wide[:, 3]
    rows = zip((study + 1).tolist(), labels.tolist(), wide.tolist(), area.tolist(), strict=True)
    return [
        {"id": n, "image_id": image, "category_id": label, "bbox": box, "area": size}
        for n, (image, label, box, size) in enumerate(rows, start=1)
    ]


def check_protocol(overlap: str, threshold: float, max_detections: int) -> None:
    if overlap not in ("iou", "iobb"):
        raise EvaluationError(f"overlap = {overlap!r}", hint='use "iou" or "iobb"')
    if not 0 < threshold <= 1:
        raise EvaluationError(f"threshold = {threshold}", hint="use a number above 0 and up to 1")
    if max_detections < 1:
        raise EvaluationError(f"max_detections = {max_detections}", hint="use 1 or more")


def positions_in(detections: Detections, truth: GroundTruth) -> NDArray[np.int64]:
    """For every study of ``detections`` its position in ``truth``; both must hold the same studies.

    Raises EvaluationError for that, for unknown labels and for true boxes that are not finite.
    """
    broken = ~np.isfinite(truth.boxes).all(axis=1)
    if broken.any():
        raise EvaluationError(
            f"{int(broken.sum())} true boxes that are not finite, the first in study "
            f"{truth.studies[int(truth.study[broken][0])]!r}",
            where="evaluation",
            hint="correct the boxes of the data set",
        )
    place = {name: n for n, name in enumerate(truth.studies)}
    for label, known in ((detections.labels, len(truth.categories)), (truth.labels, len(truth.categories))):
        wrong = (label < 1) | (label > known)
        if wrong.any():
            raise EvaluationError(f"label {int(label[wrong][0])} of {known} findings", where="evaluation")
    if len(place) != len(truth.studies) or len(set(detections.studies)) != len(detections.studies):
        raise EvaluationError("a study is listed twice", where="evaluation")
    unknown = [name for name in detections.studies if name not in place]
    if unknown:
        raise EvaluationError(
            f"{len(unknown)} studies without ground truth, the first {unknown[0]!r}",
            where="evaluation",
            hint="evaluate the detections on the split they were made on",
        )
    missing = set(truth.studies) - set(detections.studies)
    if missing:
        raise EvaluationError(
            f"{len(missing)} studies were never looked at, the first {min(missing)!r}",
            where="evaluation",
            hint="evaluate the detections on the split they were made on",
        )
    return np.array([place[name] for name in detections.studies], dtype=np.int64)


def scores_by_overlap(
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
