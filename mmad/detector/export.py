"""A detector as a program of fixed shapes, which runs without this package: up to boxes and logits, one image a time.

How many boxes a suppression keeps depends on the image, which no program of fixed shapes can hold. That of the
proposals becomes a mask here; that of the detections is left to whoever runs the program (docs/predict.md has it).
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from mmad.detector.boxes import FlatBoxes
from mmad.detector.model import MultimodalRCNN
from mmad.detector.pooling import PooledMaps
from mmad.detector.roi_heads import CLEAN, DetectionHeads, RoiMode
from mmad.detector.rpn import ProposalNetwork, TargetDict


def export_network(model: MultimodalRCNN, numbers: int, categories: int) -> ExportedProgram:
    """The network of ``model`` up to what its detections are chosen from.

    The program takes one grey image, uint8 (1, 1, S, S), and, of a detector with ``use_clinical``, float32
    (1, ``numbers``) and int64 (1, ``categories``); it gives boxes (P, findings, 4) in pixels of the image and class
    logits (P, 1 + findings), the background first. Of proposals that are not there all four sides are 0. Weights are
    row after row, whatever the layout of ``model``: a file keeps no other without a warning of torch's.
    """
    fixed = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    fixed = fixed.to(memory_format=torch.contiguous_format)
    fixed.rpn.__class__ = _FixedProposals
    fixed.roi_heads.__class__ = _UnsuppressedHeads
    side = model.setup.image_size
    inputs = [torch.zeros(1, 1, side, side, dtype=torch.uint8)]
    if model.setup.use_clinical:
        inputs += [torch.zeros(1, numbers), torch.zeros(1, categories, dtype=torch.int64)]
    network = _Network(fixed).eval()
    with torch.no_grad(), warnings.catch_warnings(), _older_switches():
        network(*inputs)  # anchors are made once, and are constants then
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)  # of torchvision
        return torch.export.export(network, tuple(inputs))


@contextmanager
def _older_switches() -> Iterator[None]:
    """torch.export asks cuDNN's older switch for TensorFloat-32, which has no answer where the newer ones say no."""
    cudnn = torch.backends.cudnn
    parts = [getattr(cudnn, name) for name in ("conv", "rnn") if hasattr(cudnn, name)]
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "tf32"
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


class _Network(nn.Module):
    """Tensors in, tensors out."""

    def __init__(self, detector: MultimodalRCNN) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, image: Tensor, numeric: Tensor | None = None, categorical: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        (found,) = self.detector(image, None, numeric, categorical).detections
        return found["boxes"], found["logits"]


class _FixedProposals(ProposalNetwork):
    """As many proposals of one image as there can be, those that are not there with sides of 0."""

    @torch.no_grad()
    def forward(
        self,
        side: int,
        features: OrderedDict[str, Tensor],
        pooled: PooledMaps,
        targets: list[TargetDict] | None = None,
    ) -> tuple[FlatBoxes, dict[str, Tensor]]:
        scores, deltas, anchors, per_level = self._read(side, features)
        decoded = self.decode(scores, deltas, anchors, per_level, side)
        boxes, valid = decoded.boxes[0], decoded.valid[0]
        probability = decoded.probability[0].where(valid, -1.0)
        kept, begin = [], 0
        aside = torch.tensor([[-4.0, -4.0, -3.0, -3.0], [-2.0, -2.0, -1.0, -1.0]])
        for anchors_of_level in per_level:
            end = begin + min(self.pre_nms_top_n, anchors_of_level)
            # a program takes for granted that two boxes at least are kept: two that lie aside always are
            rows = torch.ops.torchvision.nms(
                torch.cat((boxes[begin:end], aside)), F.pad(probability[begin:end], (0, 2), value=-2.0), self.nms_thresh
            )
            kept.append(torch.zeros(end - begin + 2, dtype=torch.bool).index_fill(0, rows, True)[:-2])
            begin = end
        best = probability.where(torch.cat(kept), -1.0).topk(min(self.post_nms_top_n, len(boxes)))
        proposals = boxes[best.indices].where(best.values[:, None] >= 0, 0.0)
        return FlatBoxes(proposals, torch.zeros_like(best.indices), [len(proposals)]), {}


class _UnsuppressedHeads(DetectionHeads):
    """All boxes of all proposals, and their logits."""

    @torch.no_grad()
    def forward(
        self,
        maps: PooledMaps,
        proposals: FlatBoxes,
        targets: list[TargetDict] | None = None,
        clinical: Tensor | None = None,
        mode: RoiMode = CLEAN,
        prior: Tensor | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        fixed = _FixedMaps(maps.maps, maps.dtype, maps.side)
        logits, deltas = self._predict_boxes(fixed, proposals, clinical, prior)
        return [{"boxes": self.decode(maps.side, logits, deltas, proposals), "logits": logits}], {}


class _FixedMaps(PooledMaps):
    """Every map is read for every RoI, which takes of each its own map's features."""

    def pool(self, boxes: FlatBoxes, cells: int) -> Tensor:
        rois = F.pad(boxes.flat, (1, 0))  # all of the first image
        chosen, *others = [self._align(values, rois, cells) for values in self.maps]
        levels = self.levels(boxes.flat)
        for number, values in enumerate(others, 1):
            assert levels is not None
            chosen = values.where((levels == number)[:, None, None, None], chosen)
        return chosen
