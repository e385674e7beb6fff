"""Masks on the grid that a detector draws them on, and how far they overlap: pycocotools' own count of cells.

The data has boxes and no outlines. A true mask is therefore the filled box, as in the training of the mask head: the
cells whose centres lie in it.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth, Masks

#: What of a detection is compared with the truth.
Outline = Literal["boxes", "masks"]
#: A mask's run lengths: ``size`` and compressed ``counts``, as pycocotools takes them.
Rle = dict[str, Any]


def filled_box(box: NDArray[np.float64], side: int) -> Rle:
    """The run lengths of a box (xmin, ymin, xmax, ymax) in cells of a grid of ``side`` × ``side``."""
    first = np.clip(np.ceil(box[:2] - 0.5), 0, side).astype(int)
    last = np.clip(np.ceil(box[2:] - 0.5), 0, side).astype(int)  # beyond the last cell
    wide, high = (max(0, int(n)) for n in last - first)
    left, top = map(int, first)
    if wide == 0 or high == 0:
        counts = [side * side]
    elif high == side:
        counts = [left * side, wide * side, (side - left - wide) * side]
    else:
        counts = [left * side + top, *[high, side - high] * wide]
        counts[-1] = side * side - sum(counts[:-1])
    rle: Rle = mask.frPyObjects({"size": [side, side], "counts": counts}, side, side)
    return rle


def rles_of(masks: Masks) -> list[Rle]:
    """Every mask in the form that pycocotools takes."""
    return [{"size": [masks.side, masks.side], "counts": counts} for counts in masks.runs]


def masks_of(detections: Detections) -> Masks:
    """The masks of ``detections``. EvaluationError where none were kept."""
    if detections.masks is None:
        raise EvaluationError(
            "no masks are kept with the detections",
            where="evaluation",
            hint="make them again with `mmad eval RUN --again`, of a run with a mask head",
        )
    return detections.masks


def true_rles(truth: GroundTruth, masks: Masks, positions: NDArray[np.int64]) -> list[Rle]:
    """The filled true boxes on the grid of ``masks``, whose studies stand at ``positions`` of the truth's."""
    scale = masks.side / _extent(masks, positions)[truth.study]  # (M, 2) cells per pixel
    return [filled_box(box, masks.side) for box in truth.boxes * np.tile(scale, 2)]


def areas(rles: list[Rle], study: NDArray[np.int64], masks: Masks, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Areas of masks in px² of the original images; ``study`` counts in the truth's order."""
    # one by one: pycocotools takes no more than 255 at once
    cells = np.array([mask.area(rle) for rle in rles], dtype=np.float64)  # type: ignore[no-untyped-call]
    result: NDArray[np.float64] = cells * (_extent(masks, positions) / masks.side).prod(axis=1)[study]
    return result


def _extent(masks: Masks, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """(I, 2) of the truth's studies."""
    extent = np.ones_like(masks.extent)
    extent[positions] = masks.extent
    return extent
