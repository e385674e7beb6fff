"""Gathers what a pass detected, batch by batch, and puts it into the records that are judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from mmad.base.records import Detections, GroundTruth, Masks
from mmad.data.dataset import DataSet
from mmad.data.loading.batches import Batch

#: What is judged of a detection; masks only where there is a mask head.
_KEPT = ("boxes", "scores", "labels", "masks")
#: Least probability of a cell that belongs to a mask.
_INSIDE = 0.5


class Collector:
    """Gathers detections, and for training the boxes as augmented.

    Detections stay on their device until the pass is over: one transfer then, none per batch.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.found: list[dict[str, Tensor]] = []
        self.given: list[dict[str, Tensor]] = []
        self.side = 0  # pixels of the square that the network sees

    def add(self, batch: Batch, detections: Sequence[dict[str, Tensor]]) -> None:
        """Take in a batch and, per image, its ``boxes`` (d, 4), ``scores`` (d,) and ``labels`` (d,).

        With a mask head also ``masks`` (d, 1, m, m): probabilities within each box.
        """
        self.side = batch.images.shape[-1]
        self.positions += batch.positions
        self.found += [{key: found[key].detach() for key in _KEPT if key in found} for found in detections]
        self.given += [{"boxes": t["boxes"], "labels": t["labels"]} for t in batch.targets]

    def unseen(self, positions: Sequence[int]) -> None:
        """Those of ``positions`` that no batch held count as looked at in vain."""
        self.positions += sorted(set(positions) - set(self.positions))

    def detections(self, dataset: DataSet, scales: Tensor | None) -> Detections:
        """All detections; ``scales`` (studies, 4) turns boxes of the S×S image into pixels of the original."""
        boxes = _stack(self.found, "boxes", 4)
        owners = _owners(self.found)
        if scales is not None:
            boxes = boxes * scales.numpy()[np.asarray(self.positions, dtype=np.int64)[owners]]
        return Detections(
            studies=tuple(dataset.studies[p].study for p in self.positions),
            study=owners,
            boxes=boxes,
            scores=_stack(self.found, "scores"),
            labels=_stack(self.found, "labels").astype(np.int64),
            masks=self._masks(scales) if any("masks" in row for row in self.found) else None,
        )

    def _masks(self, scales: Tensor | None) -> Masks:
        """What is inside a mask, on the square that the network sees; its images have their original extent."""
        side = self.side
        extent = np.full((len(self.positions), 2), float(side))
        if scales is not None:
            extent = np.round(scales.numpy()[self.positions, :2] * side)
        runs: list[bytes] = []
        for row in self.found:
            drawn = paste_masks_in_image(row["masks"].float().cpu(), row["boxes"].float().cpu(), (side, side))
            inside = (drawn[:, 0] >= _INSIDE).numpy()  # (d, S, S)
            cells = np.asfortranarray(inside.transpose(1, 2, 0), dtype=np.uint8)
            runs += [bytes(run["counts"]) for run in mask.encode(cells)]  # type: ignore[no-untyped-call]
        return Masks(side, extent, tuple(runs))

    def augmented_truth(self, dataset: DataSet) -> GroundTruth:
        """The true boxes as they were shown, in pixels of the S×S image."""
        return GroundTruth(
            studies=tuple(dataset.studies[p].study for p in self.positions),
            patients=tuple(dataset.studies[p].patient for p in self.positions),
            categories=tuple(dataset.labels),
            study=_owners(self.given),
            boxes=_stack(self.given, "boxes", 4),
            labels=_stack(self.given, "labels").astype(np.int64),
        )


def _stack(rows: list[dict[str, Tensor]], key: str, width: int | None = None) -> NDArray[np.float64]:
    if not rows:
        return np.zeros((0,) if width is None else (0, width))
    stacked: NDArray[np.float64] = torch.cat([row[key] for row in rows]).double().cpu().numpy()
    return stacked


def _owners(rows: list[dict[str, Tensor]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(rows)), [len(row["boxes"]) for row in rows]).astype(np.int64)
