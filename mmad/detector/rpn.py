"""The region proposal network: torchvision's head and anchors, over whole batches, with losses wherever targets are.

Faster R-CNN: Ren et al., arXiv:1506.01497.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from mmad.config.setup import ModelSetup
from mmad.detector.boxes import BoxCoder, FlatBoxes, Kept, Sampler, assign, pad, read, rows_of, suppress, upcast
from mmad.detector.pooling import PooledMaps

#: What is true of an image: ``boxes`` (n, 4), ``labels`` (n,) from 1 and perhaps ``masks`` (n, S, S).
TargetDict = dict[str, Tensor]
MIN_SIZE = 1e-3  # pixels a proposal's sides must have
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
        self.per_location: int = self.generator.num_anchors_per_location()[0]
        self._made: dict[tuple[object, ...], Tensor] = {}

    def forward(self, side: int, maps: list[Tensor]) -> Tensor:
        """The (N, 4) anchors of maps (B, C, h, w) over images of ``side`` pixels, map by map."""
        grids = [tuple(m.shape[-2:]) for m in maps]
        like = upcast(maps[0].new_empty(0)).dtype
        device = maps[0].device
        key = (side, *grids, like, device)
        if key not in self._made:
            self.generator.set_cell_anchors(like, device)
            strides = [[torch.tensor(side // n) for n in grid] for grid in grids]
            self._made = {key: torch.cat(self.generator.grid_anchors(grids, strides))}
        return self._made[key]


@dataclass(frozen=True)
class DecodedBoxes:
    """``boxes`` (B, K, 4), their ``probability`` (B, K), whether they can be proposed, and each's ``level`` (K,)."""

    boxes: Tensor
    probability: Tensor
    valid: Tensor
    level: Tensor


@dataclass(frozen=True)
class _DrawnAnchors:
    """True boxes (B, M, 4), each anchor's row among them and label (B, N), and the anchors (B, N) drawn of them."""

    truth: Tensor
    matched: Tensor
    labels: Tensor
    positive: Tensor
    sampled: Tensor


class ProposalNetwork(nn.Module):
    """An RPN whose proposals never depend on the targets, in training and in evaluation."""

    def __init__(self, setup: ModelSetup, channels: int) -> None:
        super().__init__()
        sizes = tuple((size,) for size in setup.anchor_sizes) if setup.using_fpn else (setup.anchor_sizes,)
        self.anchors = Anchors(sizes, setup.anchor_ratios)
        self.head = RPNHead(channels, self.anchors.per_location)
        self.sampler = Sampler(setup.rpn_batch_size_per_image, setup.rpn_positive_fraction)
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.fg_iou_thresh, self.bg_iou_thresh = setup.rpn_fg_iou_thresh, setup.rpn_bg_iou_thresh
        self.nms_thresh, self.score_thresh = setup.rpn_nms_thresh, setup.rpn_score_thresh
        self._pre_nms_top_n = {True: setup.rpn_pre_nms_top_n_train, False: setup.rpn_pre_nms_top_n_test}
        self._post_nms_top_n = {True: setup.rpn_post_nms_top_n_train, False: setup.rpn_post_nms_top_n_test}

    @property
    def pre_nms_top_n(self) -> int:
        """Proposals per level before suppression."""
        return self._pre_nms_top_n[self.training]

    @property
    def post_nms_top_n(self) -> int:
        """Proposals per image after suppression."""
        return self._post_nms_top_n[self.training]

    def forward(
        self,
        side: int,
        features: OrderedDict[str, Tensor],
        pooled: PooledMaps,
        targets: list[TargetDict] | None = None,
    ) -> tuple[FlatBoxes, dict[str, Tensor]]:
        """Propose boxes.

        Args:
            side: pixels per side of the images.
            features: the maps the head reads, (B, C, h, w) each.
            pooled: the maps that the boxes are pooled from.
            targets: per image ``boxes`` (n, 4) in pixels of the S×S image; with them the losses are computed.

        Returns:
            The proposals, detached, and the losses ``loss_objectness`` and ``loss_rpn_box_reg``.
        """
        scores, deltas, anchors, per_level = self._read(side, features)
        boxes, kept = self._filter_proposals(scores.detach(), deltas.detach(), anchors, per_level, side)
        proposed, real = boxes[kept.rows].view(-1, 4), kept.real.view(-1)
        levels = pooled.levels(proposed)
        drawn = None if targets is None else self._sample(scores.dtype, anchors, targets)
        sums = [] if drawn is None else [drawn.positive.sum(), drawn.sampled.sum()]
        counts, on_level, *sizes = read(kept.counts, pooled.count(levels, real), *sums)
        rows = rows_of(real, sum(counts))
        image = rows.div(max(1, kept.rows.shape[1]), rounding_mode="floor")
        proposals = FlatBoxes(proposed[rows], image, counts, None if levels is None else levels[rows], on_level)
        if drawn is None:
            return proposals, {}
        (positive,), (sampled,) = sizes
        return proposals, self._losses(scores, deltas, anchors, drawn, positive, sampled)

    def _read(self, side: int, features: OrderedDict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """Scores (B, N) and deltas (B, N, 4) of the anchors (N, 4), and how many of these every map has."""
        maps = list(features.values())
        objectness, deltas = self.head(maps)
        per_level = [o.shape[1] * o.shape[2] * o.shape[3] for o in objectness]
        images = len(maps[0])
        flat_scores, flat_deltas = concat_box_prediction_layers(objectness, deltas)
        anchors = self.anchors(side, maps)
        return upcast(flat_scores).view(images, -1), upcast(flat_deltas).view(images, -1, 4), anchors, per_level

    @torch.no_grad()
    def _filter_proposals(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, per_level: list[int], side: int
    ) -> tuple[Tensor, Kept]:
        """The boxes (N, 4) of the best anchors, and which of them non-maximum suppression keeps."""
        decoded = self.decode(scores, deltas, anchors, per_level, side)
        images, size = decoded.probability.shape
        image = torch.arange(images, device=scores.device)[:, None].expand(-1, size).reshape(-1)
        boxes = decoded.boxes.view(-1, 4)
        return boxes, suppress(
            boxes,
            decoded.probability.view(-1),
            image,
            image * len(per_level) + decoded.level.repeat(images),
            [size] * images,
            valid=decoded.valid.view(-1),
            nms_thresh=self.nms_thresh,
            top_n=self.post_nms_top_n,
        )

    def decode(self, scores: Tensor, deltas: Tensor, anchors: Tensor, per_level: list[int], side: int) -> DecodedBoxes:
        """The boxes of the best anchors of every level, before non-maximum suppression."""
        rows, level = self._top_n(scores, per_level)  # (B, K), (K,)
        probability = scores.gather(1, rows).sigmoid()
        top_deltas = deltas.gather(1, rows[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode(top_deltas.reshape(-1, 4), anchors[rows].view(-1, 4))
        boxes = clip_boxes_to_image(boxes, (side, side)).view(*rows.shape, 4)
        sides = boxes[..., 2:] - boxes[..., :2]
        valid = (sides >= MIN_SIZE).all(dim=-1) & (probability >= self.score_thresh)
        return DecodedBoxes(boxes, probability, valid, level)

    def _top_n(self, scores: Tensor, per_level: list[int]) -> tuple[Tensor, Tensor]:
        """The rows of the highest scores of every level, and each row's level."""
        rows, levels, start = [], [], 0
        for level, part in enumerate(torch.split(scores, per_level, dim=1)):
            best = part.topk(min(self.pre_nms_top_n, part.shape[1]), dim=1).indices
            rows.append(best + start)
            levels.append(torch.full((best.shape[1],), level, device=scores.device))
            start += part.shape[1]
        return torch.cat(rows, dim=1), torch.cat(levels)

    def _sample(self, dtype: torch.dtype, anchors: Tensor, targets: list[TargetDict]) -> _DrawnAnchors:
        """Assign the targets to the anchors and draw a balanced sample of them for the losses."""
        truth, real = pad([t["boxes"].to(anchors.dtype) for t in targets])
        matched = assign(  # (B, N)
            truth,
            real,
            anchors,
            fg_iou_thresh=self.fg_iou_thresh,
            bg_iou_thresh=self.bg_iou_thresh,
            allow_low_quality_matches=True,
        )
        labels = torch.where(matched >= 0, 1.0, matched.to(dtype) + 1)  # background 0, ignored -1
        positive, negative = self.sampler(labels)
        return _DrawnAnchors(truth, matched, labels, positive, positive | negative)

    def _losses(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, drawn: _DrawnAnchors, positive: int, sampled: int
    ) -> dict[str, Tensor]:
        """The losses of the ``sampled`` anchors, of which ``positive`` have a true box."""
        if not sampled:  # the mean over no anchor is not a number
            return {"loss_objectness": scores.sum() * 0, "loss_rpn_box_reg": deltas.sum() * 0}
        rows = rows_of(drawn.positive.view(-1), positive)
        image, place = rows.div(len(anchors), rounding_mode="floor"), rows % len(anchors)
        regression_targets = self.coder.encode(drawn.truth[image, drawn.matched.view(-1)[rows]], anchors[place])
        among = rows_of(drawn.sampled.view(-1), sampled)
        logits = scores.view(-1)[among]
        box = F.smooth_l1_loss(deltas[image, place], regression_targets, beta=BETA, reduction="sum") / sampled
        objectness = F.binary_cross_entropy_with_logits(logits, drawn.labels.view(-1)[among])
        return {"loss_objectness": objectness, "loss_rpn_box_reg": box}
