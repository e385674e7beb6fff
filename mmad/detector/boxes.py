"""Boxes of a whole batch at once: overlaps, matching, sampling and suppression without a loop over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms
from torchvision.ops.boxes import box_area

BACKGROUND, IGNORED = -1, -2
#: Overlaps that are in memory at once, but for those of one image: 32 MiB in single precision, and some copies.
MOST_OVERLAPS = 2**23


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Per image (n, …) tensors as one (B, max(n, 1), …) and the (B, max(n, 1)) mask of what is real."""
    padded = pad_sequence(list(rows), batch_first=True)
    if padded.shape[1] == 0:
        padded = padded.new_zeros((len(rows), 1, *padded.shape[2:]))
    lengths = torch.tensor([len(row) for row in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]


def upcast(values: Tensor) -> Tensor:
    """``values`` in at least single precision: boxes in half precision would be off by half a pixel."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def batched_iou(truth: Tensor, boxes: Tensor) -> Tensor:
    """IoU of ``truth`` (B, M, 4) with ``boxes`` (N, 4) or (B, N, 4): (B, M, N)."""
    boxes = boxes if boxes.dim() == 3 else boxes[None]
    shared = _shared_side(truth, boxes, 0).mul_(_shared_side(truth, boxes, 1))
    # torchvision's order of the sums, so that both agree to the bit
    union = (_area(truth)[:, :, None] + _area(boxes)[:, None]).sub_(shared)
    return shared.div_(union)


def _shared_side(truth: Tensor, boxes: Tensor, axis: int) -> Tensor:
    """How far boxes overlap along x (0) or y (1), (B, M, N): one axis at a time takes half the memory."""
    begin = torch.maximum(truth[:, :, None, axis], boxes[:, None, :, axis])
    return torch.minimum(truth[:, :, None, axis + 2], boxes[:, None, :, axis + 2]).sub_(begin).clamp_(min=0)


def _area(boxes: Tensor) -> Tensor:
    area: Tensor = box_area(boxes.reshape(-1, 4)).view(boxes.shape[:-1])
    return area


def match(
    iou: Tensor, real: Tensor, *, fg_iou_thresh: float, bg_iou_thresh: float, allow_low_quality_matches: bool
) -> Tensor:
    """Which true box each box belongs to: torchvision's ``Matcher`` over a batch.

    Args:
        iou: (B, M, N) overlaps of true boxes with boxes.
        real: (B, M), False for padding among the true boxes.
        fg_iou_thresh: overlap from which a box belongs to its best true box.
        bg_iou_thresh: overlap below which it is background; between the two it is ignored.
        allow_low_quality_matches: also give every true box the boxes that overlap it best.

    Returns:
        (B, N) rows among the true boxes, -1 for background, -2 for ignored.
    """
    iou = iou.masked_fill(~real[:, :, None], -1.0)
    best, rows = iou.max(dim=1)
    matched = torch.where(best < bg_iou_thresh, BACKGROUND, torch.where(best < fg_iou_thresh, IGNORED, rows))
    if not allow_low_quality_matches:
        return matched
    best_of_truth = (iou == iou.max(dim=2, keepdim=True).values) & real[:, :, None]
    return torch.where(best_of_truth.any(dim=1), rows, matched)


def assign(
    truth: Tensor,
    real: Tensor,
    boxes: Tensor,
    *,
    fg_iou_thresh: float,
    bg_iou_thresh: float,
    allow_low_quality_matches: bool,
) -> Tensor:
    """``match`` by the IoU of ``truth`` (B, M, 4) with ``boxes`` (N, 4) or (B, N, 4), as many images at once as fit.

    One crowded image pads all others, so that a batch could take B times the memory that its images take.
    """
    per_image = truth.shape[1] * boxes.shape[-2]
    step = max(1, MOST_OVERLAPS // max(1, per_image))
    parts = [
        match(
            batched_iou(truth[i : i + step], boxes if boxes.dim() == 2 else boxes[i : i + step]),
            real[i : i + step],
            fg_iou_thresh=fg_iou_thresh,
            bg_iou_thresh=bg_iou_thresh,
            allow_low_quality_matches=allow_low_quality_matches,
        )
        for i in range(0, len(truth), step)
    ]
    return torch.cat(parts)


class Sampler(nn.Module):
    """Draws a balanced sample of every image's boxes: torchvision's ``BalancedPositiveNegativeSampler``, batched.

    Args:
        batch_size_per_image: boxes per image.
        positive_fraction: largest share of positives; negatives fill what they leave free.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        super().__init__()
        self.batch_size_per_image = batch_size_per_image
        self.max_positives = int(batch_size_per_image * positive_fraction)

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, N) labels (above 0 positive, 0 negative, below 0 neither) the (B, N) masks drawn of each."""
        positive = _subset(labels > 0, torch.full_like(labels[:, 0], self.max_positives), self.max_positives)
        free = self.batch_size_per_image - positive.sum(dim=1)
        return positive, _subset(labels == 0, free, self.batch_size_per_image)


def _subset(candidates: Tensor, size: Tensor, max_size: int) -> Tensor:
    """A random subset of every row's ``candidates`` (B, N), at most ``size`` (B,) of them and ``max_size``."""
    max_size = min(max_size, candidates.shape[1])
    order = torch.rand(candidates.shape, device=candidates.device).masked_fill_(~candidates, 2.0)
    rows = order.topk(max_size, dim=1, largest=False).indices
    chosen = torch.arange(max_size, device=candidates.device) < size[:, None]
    return torch.zeros_like(candidates).scatter_(1, rows, chosen) & candidates


@dataclass(frozen=True)
class Kept:
    """What a suppression keeps: flat rows ordered by image and falling score, and how many each image has."""

    rows: Tensor
    counts: list[int]


def suppress(
    boxes: Tensor, scores: Tensor, image: Tensor, group: Tensor, images: int, *, nms_thresh: float, top_n: int
) -> Kept:
    """Non-maximum suppression within the groups of every image; the best ``top_n`` of an image are kept.

    Args:
        boxes: (N, 4); scores: (N,); image: (N,) from 0.
        group: (N,) suppressed apart from each other; a group lies in one image.
        images: how many images there are.
        nms_thresh: IoU above which the weaker box goes.
        top_n: boxes kept of one image.
    """
    kept = batched_nms(boxes, scores, group, nms_thresh)  # by falling score
    owner, order = image[kept].sort(stable=True)
    counts = torch.bincount(owner, minlength=images)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(owner), device=owner.device) - first[owner]
    rows = kept[order][rank < top_n]
    return Kept(rows, counts.clamp(max=top_n).tolist())
