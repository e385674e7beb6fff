"""The region proposal network: torchvision's head and anchors, over whole batches, with losses wherever targets are.

Faster R-CNN: Ren et al., arXiv:1506.01497.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from mmad.config.setup import ModelSetup
from mmad.detector.boxes import Sampler, full, match, overlaps, pad, suppress

Target = dict[str, Tensor]
SMALLEST = 1e-3  # pixels a proposal's sides must have
BETA = 1 / 9  # of the smooth L1 loss, as torchvision's


class Anchors(nn.Module):
    """torchvision's anchors of all maps, made once per size of image and maps.

    Args:
        sizes: per map the sides of its anchors, in pixels.
        ratios: height to width.
    """

    def __init__(self, sizes: tuple[tuple[int, ...], ...], ratios: tuple[float, ...]) -> None:
        super().__init__()
        self.generator = AnchorGenerator(sizes, (ratios,) * len(sizes))
        self.per_place: int = self.generator.num_anchors_per_location()[0]
        self._made: dict[tuple[object, ...], Tensor] = {}

    def forward(self, side: int, maps: list[Tensor]) -> Tensor:
        """The (N, 4) anchors of maps (B, C, h, w) over images of ``side`` pixels, map by map."""
        grids = [tuple(m.shape[-2:]) for m in maps]
        like = full(maps[0])
        key = (side, *grids, like.dtype, like.device)
        if key not in self._made:
            self.generator.set_cell_anchors(like.dtype, like.device)
            strides = [[torch.tensor(side // n, device=like.device) for n in grid] for grid in grids]
            self._made = {key: torch.cat(self.generator.grid_anchors(grids, strides))}
        return self._made[key]


class ProposalNetwork(nn.Module):
    """An RPN whose proposals never depend on the targets, in training and in evaluation."""

    def __init__(self, setup: ModelSetup, channels: int) -> None:
        super().__init__()
        sizes = tuple((size,) for size in setup.anchor_sizes) if setup.using_fpn else (setup.anchor_sizes,)
        self.anchors = Anchors(sizes, setup.anchor_ratios)
        self.head = RPNHead(channels, self.anchors.per_place)
        self.sampler = Sampler(setup.rpn_batch_size_per_image, setup.rpn_positive_fraction)
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.high, self.low = setup.rpn_fg_iou_thresh, setup.rpn_bg_iou_thresh
        self.overlap, self.score = setup.rpn_nms_thresh, setup.rpn_score_thresh
        self.before = {True: setup.rpn_pre_nms_top_n_train, False: setup.rpn_pre_nms_top_n_test}
        self.after = {True: setup.rpn_post_nms_top_n_train, False: setup.rpn_post_nms_top_n_test}

    def forward(
        self, side: int, features: OrderedDict[str, Tensor], targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose boxes.

        Args:
            side: pixels per side of the images.
            features: the maps the heads read, (B, C, h, w) each.
            targets: per image ``boxes`` (n, 4) in pixels of the S×S image; with them the losses are computed.

        Returns:
            Per image (p, 4) proposals, detached, and the losses ``loss_objectness`` and ``loss_rpn_box_reg``.
        """
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        per_level = [o.shape[1] * o.shape[2] * o.shape[3] for o in objectness]
        images = len(maps[0])
        flat, moved = concat_box_prediction_layers(objectness, deltas)
        scores, deltas = full(flat).view(images, -1), full(moved).view(images, -1, 4)
        anchors = self.anchors(side, maps)
        proposals = self._propose(scores.detach(), deltas.detach(), anchors, per_level, side)
        if targets is None:
            return proposals, {}
        return proposals, self._losses(scores, deltas, anchors, targets)

    @torch.no_grad()
    def _propose(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, per_level: list[int], side: int
    ) -> list[Tensor]:
        rows, level = self._best(scores, per_level)  # (B, K), (K,)
        chosen = scores.gather(1, rows).sigmoid()
        moves = deltas.gather(1, rows[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode_single(moves.reshape(-1, 4), anchors[rows].view(-1, 4))
        boxes = clip_boxes_to_image(boxes, (side, side)).view(*rows.shape, 4)
        wide = boxes[..., 2:] - boxes[..., :2]
        good = (wide >= SMALLEST).all(dim=-1) & (chosen >= self.score)
        image, place = good.nonzero(as_tuple=True)
        boxes, chosen = boxes[image, place], chosen[image, place]
        group = image * len(per_level) + level[place]
        kept = suppress(boxes, chosen, image, group, len(scores), overlap=self.overlap, most=self.after[self.training])
        return list(torch.split(boxes[kept.rows], kept.counts))

    def _best(self, scores: Tensor, per_level: list[int]) -> tuple[Tensor, Tensor]:
        """The rows of the highest scores of every level, and each row's level."""
        rows, levels, start = [], [], 0
        for level, part in enumerate(torch.split(scores, per_level, dim=1)):
            best = part.topk(min(self.before[self.training], part.shape[1]), dim=1).indices
            rows.append(best + start)
            levels.append(torch.full((best.shape[1],), level, device=scores.device))
            start += part.shape[1]
        return torch.cat(rows, dim=1), torch.cat(levels)

    def _losses(self, scores: Tensor, deltas: Tensor, anchors: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        truth, real = pad([t["boxes"].to(anchors.dtype) for t in targets])
        matched = match(overlaps(truth, anchors), real, high=self.high, low=self.low, rescue=True)  # (B, N)
        labels = torch.where(matched >= 0, 1.0, matched.to(scores.dtype) + 1)  # background 0, ignored -1
        positive, negative = self.sampler(labels)
        image, place = positive.nonzero(as_tuple=True)
        wanted = self.coder.encode_single(truth[image, matched[image, place]], anchors[place])
        sampled = positive | negative
        taken = scores[sampled]
        if not len(taken):  # the mean over no anchor is not a number
            return {"loss_objectness": scores.sum() * 0, "loss_rpn_box_reg": deltas.sum() * 0}
        box = F.smooth_l1_loss(deltas[image, place], wanted, beta=BETA, reduction="sum") / taken.numel()
        objectness = F.binary_cross_entropy_with_logits(taken, labels[sampled])
        return {"loss_objectness": objectness, "loss_rpn_box_reg": box}
