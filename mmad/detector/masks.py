"""The mask branch of the RoI heads: torchvision's layers, the loss, and masks where a data set has only boxes.

Mask R-CNN: He et al., arXiv:1703.06870.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

POOL = 14  # cells per side of the features a mask is drawn from
DEPTH = 4  # convolutions of the mask head


def mask_head(channels: int, width: int) -> MaskRCNNHeads:
    """Four 3×3 convolutions from ``channels`` to ``width``."""
    return MaskRCNNHeads(channels, (width,) * DEPTH, 1)


def mask_predictor(width: int, classes: int) -> MaskRCNNPredictor:
    """A 2×2 transposed convolution and a 1×1 convolution to one 28×28 mask per class."""
    return MaskRCNNPredictor(width, width, classes)


def filled_boxes(boxes: Tensor, side: int) -> Tensor:
    """Masks (n, side, side) of boxes (n, 4) in pixels: what stands in for an outline that nobody drew."""
    centre = torch.arange(side, device=boxes.device, dtype=boxes.dtype) + 0.5
    across = (centre >= boxes[:, 0:1]) & (centre < boxes[:, 2:3])  # (n, side)
    down = (centre >= boxes[:, 1:2]) & (centre < boxes[:, 3:4])
    return down[:, :, None] & across[:, None, :]


def true_masks(targets: Sequence[dict[str, Tensor]], side: int) -> Tensor:
    """The masks of all targets' boxes one after the other, (sum n, side, side); the filled box where none is given."""
    return torch.cat([t["masks"] if "masks" in t else filled_boxes(t["boxes"], side) for t in targets])


def mask_loss(logits: Tensor, boxes: Tensor, labels: Tensor, masks: Tensor, rows: Tensor) -> Tensor:
    """Mean cross-entropy of each RoI's mask of its own class against its true mask.

    Args:
        logits: (R, classes, m, m).
        boxes: (R, 4) RoIs in pixels.
        labels: (R,) class of each.
        masks: (N, S, S) true masks.
        rows: (R,) the true mask of each.
    """
    if not len(boxes):
        return logits.sum() * 0
    rois = torch.cat((rows[:, None].to(boxes.dtype), boxes), dim=1)
    wanted = roi_align(masks[:, None].to(boxes.dtype), rois, logits.shape[-1], 1.0)[:, 0]
    mine = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(mine.to(wanted.dtype), wanted)


def chosen_masks(logits: Tensor, labels: Tensor) -> Tensor:
    """The probabilities (D, 1, m, m) of each detection's own class."""
    return logits.sigmoid()[torch.arange(len(labels), device=labels.device), labels][:, None]
