"""A detector as a program of fixed shapes, which runs without this package: up to boxes and logits, one image a time.

How many boxes a suppression keeps depends on the image, which no program of fixed shapes can hold. That of the
proposals becomes a mask here; that of the detections is left to whoever runs the program (docs/predict.md has it).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign, roi_align

from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import BOX_POOL, DetectionHeads, Features, FlatBoxes
from mmad.detector.rpn import ProposalNetwork


def export_network(model: MultimodalRCNN, numbers: int, categories: int) -> ExportedProgram:
    """The network of ``model`` up to what its detections are chosen from.

    The program takes one grey image, uint8 (1, 1, S, S), and, of a detector with ``use_clinical``, float32
    (1, ``numbers``) and int64 (1, ``categories``); it gives boxes (P, findings, 4) in pixels of the image and class
    logits (P, 1 + findings), the background first. Of proposals that are not there all four sides are 0.
    """
    fixed = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    fixed.rpn.__class__ = _FixedProposals
    fixed.roi_heads.__class__ = _UnsuppressedHeads
    side = model.setup.image_size
    inputs = [torch.zeros(1, 1, side, side, dtype=torch.uint8)]
    if model.setup.use_clinical:
        inputs += [torch.zeros(1, numbers), torch.zeros(1, categories, dtype=torch.int64)]
    network = _Network(fixed).eval()
    with torch.no_grad(), warnings.catch_warnings(), _older_switches():
        network(*inputs)  # anchors and the scales of the maps are made once, and are constants then
        fixed.roi_heads.box_roi_pool = _FixedPool(fixed.roi_heads.box_roi_pool)
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
    def _filter_proposals(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, per_level: list[int], side: int
    ) -> list[Tensor]:
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
        return [boxes[best.indices].where(best.values[:, None] >= 0, 0.0)]


class _UnsuppressedHeads(DetectionHeads):
    """All boxes of all proposals, and their logits."""

    @torch.no_grad()
    def _postprocess_detections(
        self, side: int, features: Features, logits: Tensor, deltas: Tensor, proposals: FlatBoxes
    ) -> list[dict[str, Tensor]]:
        return [{"boxes": self.decode(side, logits, deltas, proposals), "logits": logits}]


class _FixedPool(nn.Module):
    """torchvision's ``MultiScaleRoIAlign`` that reads every map for every RoI, and takes of each its own map's.

    Args:
        pool: which has pooled once, and so knows the scales of the maps.
    """

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, maps: Features, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        pool = self.pool
        assert pool.scales is not None and pool.map_levels is not None  # noqa: PT018
        read = [maps[name] for name in pool.featmap_names]
        rois = F.pad(boxes[0], (1, 0))  # all of the first image
        level = pool.map_levels(boxes)
        pooled = [
            roi_align(values, rois, BOX_POOL, spatial_scale=scale, sampling_ratio=pool.sampling_ratio)
            for values, scale in zip(read, pool.scales, strict=True)
        ]
        chosen: Tensor = pooled[0]
        for number, values in enumerate(pooled[1:], 1):
            chosen = values.where((level == number)[:, None, None, None], chosen)
        return chosen
