"""The figures COCO reports of a detector: AP over overlaps 0.50 to 0.95, by size, and AR by detections per image.

COCO's sizes are pixels of the original image, whatever its size: a small finding on a film of 3,000 pixels is "large".
Sizes by the share of the image that a box covers stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.masks import Outline
from mmad.evaluation.matching import Floats, match
from mmad.evaluation.resampling import weigh

THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
SMALL, MEDIUM = 32.0**2, 96.0**2  # px², where COCO's sizes meet
AREAS: dict[str, tuple[float, float]] = {"small": (0, SMALL), "medium": (SMALL, MEDIUM), "large": (MEDIUM, 1e10)}
#: Shares of the image's area, this program's own: less than a hundredth, up to a tenth, more.
SHARES: dict[str, tuple[float, float]] = {"below 1 %": (0, 0.01), "1 to 10 %": (0.01, 0.1), "above 10 %": (0.1, 1e10)}
MAX_DETECTIONS = (1, 10, 100)


@dataclass(frozen=True)
class CocoSet:
    """COCO's twelve figures under their usual names, and AP and AP50 of each finding; NaN where nothing counts.

    Where the images' sizes are known, AP and AR by share of the image follow as ``AP below 1 %`` and so on.
    """

    figures: dict[str, float]
    per_class: tuple[tuple[str, float, float], ...]


def coco_set(detections: Detections, truth: GroundTruth, *, overlap: Overlap = "iou", on: Outline = "boxes") -> CocoSet:
    """COCO's summary of boxes or masks, or with ``iobb`` the same over the overlap of the documented log.

    Raises:
        EvaluationError: as ``mmad.evaluation.matching.match``.
    """
    ap, ar = _over(detections, truth, overlap, on, MAX_DETECTIONS[-1], None)
    figures = {"AP": _mean(ap), "AP50": _mean(ap[:1]), "AP75": _mean(ap[5:6])}
    recalls = {}
    sizes = [(size, area, False) for size, area in AREAS.items()]
    if truth.extent is not None:
        sizes += [(share, area, True) for share, area in SHARES.items()]
    for size, area, relative in sizes:
        by_size = _over(detections, truth, overlap, on, MAX_DETECTIONS[-1], area, relative=relative)
        figures[f"AP {size}"], recalls[f"AR {size}"] = _mean(by_size[0]), _mean(by_size[1])
    for max_detections in MAX_DETECTIONS:
        recall = (
            ar
            if max_detections == MAX_DETECTIONS[-1]
            else _over(detections, truth, overlap, on, max_detections, None)[1]
        )
        figures[f"AR@{max_detections}"] = _mean(recall)
    per_class = tuple((label, _mean(ap[:, k]), _mean(ap[:1, k])) for k, label in enumerate(truth.categories))
    return CocoSet(figures | recalls, per_class)


def _over(
    detections: Detections,
    truth: GroundTruth,
    overlap: Overlap,
    on: Outline,
    max_detections: int,
    area: tuple[float, float] | None,
    *,
    relative: bool = False,
) -> tuple[Floats, Floats]:
    """AP and AR (T, K) at all thresholds."""
    matched = match(
        detections,
        truth,
        overlap=overlap,
        thresholds=THRESHOLDS,
        max_detections=max_detections,
        area=area or (0.0, 1e10),
        relative=relative,
        on=on,
    )
    found = [weigh(matched, threshold=t) for t in range(len(THRESHOLDS))]
    return np.concatenate([w.ap for w in found]), np.concatenate([w.ar for w in found])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
