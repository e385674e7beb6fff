"""Gathers what a pass detected, batch by batch, and puts it into the records that are judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmad.base.records import Detections, GroundTruth
from mmad.data.dataset import DataSet
from mmad.data.loading.batches import Batch

#: What is judged of a detection; masks, if there are any, are not kept.
_KEPT = ("boxes", "scores", "labels")


class Collector:
    """Gathers detections, and for training the boxes as augmented.

    Detections stay on their device until the pass is over: one transfer then, none per batch.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.found: list[dict[str, Tensor]] = []
        self.given: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, detections: Sequence[dict[str, Tensor]]) -> None:
        """Take in a batch and, per image, its ``boxes`` (d, 4), ``scores`` (d,) and ``labels`` (d,)."""
        self.positions += batch.positions
        self.found += [{key: found[key].detach() for key in _KEPT} for found in detections]
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
        )

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
