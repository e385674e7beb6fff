"""The RoI heads: from proposals to losses and detections, in training and in evaluation alike.

``RoiMode`` says which boxes the heads read, and which of them count. In an evaluation the heads run once per batch, and
losses and detections take their rows from that pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image, roi_align

from mmad.config.parts import is_own
from mmad.config.setup import ModelSetup
from mmad.detector.boxes import BACKGROUND, Sampler, assign, pad, suppress, upcast
from mmad.detector.parts import make_part
from mmad.detector.rpn import TargetDict

Features = OrderedDict[str, Tensor]
BOX_POOL = 7  # cells per side of a RoI's features
MASK_POOL = 14  # cells per side of the features a mask is predicted from
MASK_DEPTH = 4  # convolutions of the mask head
MIN_SIZE = 1e-2  # pixels a detection's sides must have
#: Maps the RoIs are read from; the pooled level of a pyramid is the RPN's alone.
PYRAMID_MAPS = ("0", "1", "2", "3")

# The mask branch (He et al., arXiv:1703.06870): torchvision's layers, the loss, and masks where there are only boxes.


def mask_head(channels: int, width: int) -> MaskRCNNHeads:
    """Four 3×3 convolutions from ``channels`` to ``width``."""
    return MaskRCNNHeads(channels, (width,) * MASK_DEPTH, 1)


def mask_predictor(width: int, classes: int) -> MaskRCNNPredictor:
    """A 2×2 transposed convolution and a 1×1 convolution to one 28×28 mask per class."""
    return MaskRCNNPredictor(width, width, classes)


def filled_boxes(boxes: Tensor, side: int) -> Tensor:
    """Masks (n, side, side) of boxes (n, 4) in pixels: the replacement for an outline that nobody drew."""
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
    mask_targets = roi_align(masks[:, None].to(boxes.dtype), rois, logits.shape[-1], 1.0)[:, 0]
    own_class = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(own_class.to(mask_targets.dtype), mask_targets)


def mask_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """The mask (D, 1, m, m) of each detection's own class, as probabilities."""
    return logits.sigmoid()[torch.arange(len(labels), device=labels.device), labels][:, None]


# The heads.


@dataclass(frozen=True)
class RoiMode:
    """Which boxes the heads read.

    ``add_ground_truth`` appends the targets' boxes to the proposals. Detections come from all proposals
    (``detect = "proposals"``), from those that the sampling with the targets chose (``"sampled"``), or from
    those and the appended boxes (``"sampled_and_ground_truth"``). In training the detections are always of the
    clean proposals; ``"none"`` makes none there.
    """

    add_ground_truth: bool
    detect: str


CLEAN = RoiMode(add_ground_truth=False, detect="proposals")
SAMPLED = RoiMode(add_ground_truth=False, detect="sampled")
WITH_GROUND_TRUTH = RoiMode(add_ground_truth=True, detect="sampled_and_ground_truth")
EVALUATION_MODES = {"clean": CLEAN, "sampled": SAMPLED, "with_ground_truth": WITH_GROUND_TRUTH}


class BoxLoss(Protocol):
    """A ``torch.nn.Module`` in place of torchvision's smooth L1 loss of the box head."""

    def forward(self, deltas: Tensor, targets: Tensor) -> Tensor:
        """The loss (), summed over the boxes: ``deltas`` (n, 4) of their own class against ``targets`` (n, 4).

        Both are (dx, dy, dw, dh) of torchvision's box coder with weights 10, 10, 5 and 5; n may be 0. The sum is
        divided by the number of boxes that were sampled.
        """


class BoxHead(nn.Module):
    """Two linear layers over a RoI's flattened features, beside which the clinical vector may stand.

    Dropout stands between each linear layer and its ReLU, where the documented network has it.
    """

    def __init__(self, channels: int, clinical: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * BOX_POOL * BOX_POOL + clinical, width)
        self.fc7 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, clinical: Tensor | None) -> Tensor:
        """(R, C, 7, 7) features and (R, K) clinical vectors give (R, width)."""
        flat = features.flatten(start_dim=1)
        if clinical is not None:
            flat = torch.cat((flat, clinical.to(flat.dtype)), dim=1)
        hidden = torch.relu(self.dropout(self.fc6(flat)))
        return torch.relu(self.dropout(self.fc7(hidden)))


@dataclass(frozen=True)
class FlatBoxes:
    """Boxes of all images as one tensor ``flat`` (R, 4), the ``image`` (R,) of each, how many an image has."""

    flat: Tensor
    image: Tensor
    counts: list[int]

    @classmethod
    def of(cls, boxes: list[Tensor]) -> FlatBoxes:
        counts = [len(b) for b in boxes]
        numbers = torch.tensor(counts, device=boxes[0].device)
        image = torch.arange(len(boxes), device=boxes[0].device).repeat_interleave(numbers, output_size=sum(counts))
        return cls(torch.cat(boxes), image, counts)

    def split(self) -> list[Tensor]:
        return list(torch.split(self.flat, self.counts))

    def take(self, rows: Tensor) -> FlatBoxes:
        """The boxes at flat ``rows``, which rise."""
        image = self.image[rows]
        return FlatBoxes(self.flat[rows], image, torch.bincount(image, minlength=len(self.counts)).tolist())


@dataclass(frozen=True)
class _Samples:
    """The flat rows sampled for the losses, and of each its label, regression target and true box's row."""

    rows: Tensor
    labels: Tensor
    regression_targets: Tensor
    truth: Tensor  # among the true boxes of all images, one image after the other; of positives alone


class DetectionHeads(nn.Module):
    """torchvision's RoI heads over whole batches, losses and detections side by side (arXiv:1703.06870).

    Args:
        setup: the hyper-parameters.
        channels: of the maps.
        clinical: length of the vector joined to a RoI's features; 0 for none.
        classes: findings and the background.
    """

    def __init__(self, setup: ModelSetup, channels: int, clinical: int, classes: int) -> None:
        super().__init__()
        names = list(PYRAMID_MAPS) if setup.using_fpn else ["0"]
        self.box_roi_pool = MultiScaleRoIAlign(names, BOX_POOL, sampling_ratio=2)
        self.has_mask = setup.use_mask
        if self.has_mask:
            self.mask_roi_pool = MultiScaleRoIAlign(names, MASK_POOL, sampling_ratio=2)
            self.mask_head = mask_head(channels, setup.mask_hidden_layers)
            self.mask_predictor = mask_predictor(setup.mask_hidden_layers, classes)
        self.box_head = BoxHead(channels, clinical, setup.representation_size, setup.box_head_dropout_rate)
        self.box_predictor = FastRCNNPredictor(setup.representation_size, classes)
        self.sampler = Sampler(setup.box_batch_size_per_image, setup.box_positive_fraction)
        self.coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        if is_own(setup.box_loss):
            self.box_loss = make_part("box_loss", setup.box_loss)
        self.fg_iou_thresh, self.bg_iou_thresh = setup.box_fg_iou_thresh, setup.box_bg_iou_thresh
        self.score_thresh, self.nms_thresh = setup.box_score_thresh, setup.box_nms_thresh
        self.detections_per_img = setup.box_detections_per_img

    def forward(
        self,
        side: int,
        features: Features,
        proposals: list[Tensor],
        targets: list[TargetDict] | None = None,
        clinical: Tensor | None = None,
        mode: RoiMode = CLEAN,
        prior: Tensor | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Classify and refine proposals.

        Args:
            side: pixels per side of the images.
            features: the maps, (B, C, h, w) each.
            proposals: per image (p, 4) boxes in pixels of the S×S image.
            targets: per image ``boxes`` (n, 4), ``labels`` (n,) from 1 and perhaps ``masks`` (n, S, S), which
                else are the filled boxes; with them the losses are computed.
            clinical: (B, K) vectors to append to every RoI of an image, or None.
            mode: which boxes count; anything but CLEAN needs targets.
            prior: (B, classes - 1) logits of the findings, added to those of every RoI of an image, or None.

        Returns:
            Per image ``boxes`` (d, 4), ``labels`` (d,), ``scores`` (d,) and, with a mask head, ``masks``
            (d, 1, 28, 28) within the boxes; and the losses ``loss_classifier``, ``loss_box_reg`` and perhaps
            ``loss_mask``.
        """
        if self.training and targets is not None:
            return self._train(side, features, proposals, targets, clinical, mode, prior)
        boxes = FlatBoxes.of(_add_ground_truth(proposals, targets) if mode.add_ground_truth and targets else proposals)
        logits, deltas = self._predict_boxes(side, features, boxes, clinical, prior)
        losses: dict[str, Tensor] = {}
        samples: _Samples | None = None
        if targets is not None:
            samples = self._sample(boxes, targets)
            losses = self._losses(side, features, boxes, logits[samples.rows], deltas[samples.rows], samples, targets)
        if mode.detect != "proposals":
            rows = _detected_rows(boxes, proposals, samples, mode)
            boxes, logits, deltas = boxes.take(rows), logits[rows], deltas[rows]
        return self._postprocess_detections(side, features, logits, deltas, boxes), losses

    def _train(
        self,
        side: int,
        features: Features,
        proposals: list[Tensor],
        targets: list[TargetDict],
        clinical: Tensor | None,
        mode: RoiMode,
        prior: Tensor | None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses of the sampled boxes alone; detections, if wanted, of the clean proposals without gradient.

        The second reading is without dropout, as in an evaluation: it draws no number that the training would draw.
        """
        boxes = FlatBoxes.of(_add_ground_truth(proposals, targets) if mode.add_ground_truth else proposals)
        samples = self._sample(boxes, targets)
        logits, deltas = self._predict_boxes(side, features, boxes.take(samples.rows), clinical, prior)
        losses = self._losses(side, features, boxes, logits, deltas, samples, targets)
        if mode.detect == "none":
            return [], losses
        with torch.no_grad():
            clean = FlatBoxes.of(proposals)
            self.box_head.eval()
            logits, deltas = self._predict_boxes(side, features, clean, clinical, prior)
            self.box_head.train()
            return self._postprocess_detections(side, features, logits, deltas, clean), losses

    def _predict_boxes(
        self, side: int, features: Features, boxes: FlatBoxes, clinical: Tensor | None, prior: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, classes) and box deltas (R, classes · 4) of RoIs."""
        pooled = self.box_roi_pool(features, boxes.split(), [(side, side)] * len(boxes.counts))  # (R, C, 7, 7)
        roi_clinical = None if clinical is None else clinical[boxes.image]  # (R, K)
        logits, deltas = self.box_predictor(self.box_head(pooled, roi_clinical))
        if prior is not None:
            logits = logits + F.pad(prior, (1, 0))[boxes.image].to(logits.dtype)  # nothing for the background
        return upcast(logits), upcast(deltas)

    def _predict_masks(self, side: int, features: Features, boxes: FlatBoxes) -> Tensor:
        """Mask logits (R, classes, 28, 28) of RoIs."""
        pooled = self.mask_roi_pool(features, boxes.split(), [(side, side)] * len(boxes.counts))
        return upcast(self.mask_predictor(self.mask_head(pooled)))

    @torch.no_grad()
    def _sample(self, boxes: FlatBoxes, targets: list[TargetDict]) -> _Samples:
        """Assign the targets to ``boxes`` and draw a balanced sample of them for the losses."""
        truth, real = pad([t["boxes"].to(boxes.flat.dtype) for t in targets])  # (B, M, 4)
        classes, _ = pad([t["labels"] for t in targets])  # (B, M)
        padded, present = pad(boxes.split())  # (B, P, 4)
        matched = assign(
            truth,
            real,
            padded,
            fg_iou_thresh=self.fg_iou_thresh,
            bg_iou_thresh=self.bg_iou_thresh,
            allow_low_quality_matches=False,
        )
        best = matched.clamp(min=0)
        labels = classes.gather(1, best).where(matched >= 0, matched - BACKGROUND)  # background 0, ignored -1
        positive, negative = self.sampler(labels.where(present, -1))
        sampled = positive | negative
        image, place = sampled.nonzero(as_tuple=True)
        best = best[image, place]
        regression_targets = self.coder.encode_single(truth[image, best], padded[image, place])
        numbers = real.sum(dim=1)
        first = numbers.cumsum(0) - numbers
        rows = sampled[present].nonzero().squeeze(1)
        return _Samples(rows, labels[image, place], regression_targets, first[image] + best)

    def _losses(
        self,
        side: int,
        features: Features,
        boxes: FlatBoxes,
        logits: Tensor,
        deltas: Tensor,
        samples: _Samples,
        targets: list[TargetDict],
    ) -> dict[str, Tensor]:
        if len(samples.labels):
            classifier, box = fastrcnn_loss(logits, deltas, [samples.labels], [samples.regression_targets])
            if hasattr(self, "box_loss"):
                positive = (samples.labels > 0).nonzero().squeeze(1)
                own = deltas.view(len(deltas), -1, 4)[positive, samples.labels[positive]]
                box = self.box_loss(own, samples.regression_targets[positive]) / len(samples.labels)
        else:  # the mean over no box is not a number
            classifier, box = logits.sum() * 0, deltas.sum() * 0
        losses = {"loss_classifier": classifier, "loss_box_reg": box}
        if self.has_mask:
            positive = (samples.labels > 0).nonzero().squeeze(1)
            rois = boxes.take(samples.rows[positive])
            mask_logits = self._predict_masks(side, features, rois)
            losses["loss_mask"] = mask_loss(
                mask_logits, rois.flat, samples.labels[positive], true_masks(targets, side), samples.truth[positive]
            )
        return losses

    def decode(self, side: int, logits: Tensor, deltas: Tensor, proposals: FlatBoxes) -> Tensor:
        """The refined box of every proposal and finding, (R, findings, 4)."""
        boxes = self.coder.decode_single(deltas.detach(), proposals.flat)
        boxes = boxes.view(len(logits), logits.shape[1], 4)[:, 1:]  # no background
        clipped: Tensor = clip_boxes_to_image(boxes, (side, side))
        return clipped

    @torch.no_grad()
    def _postprocess_detections(
        self, side: int, features: Features, logits: Tensor, deltas: Tensor, proposals: FlatBoxes
    ) -> list[dict[str, Tensor]]:
        """Refined boxes after the score threshold and non-maximum suppression per finding, and their masks."""
        images, findings = len(proposals.counts), logits.shape[1] - 1
        boxes = self.decode(side, logits, deltas, proposals).reshape(-1, 4)
        scores = logits.detach().softmax(dim=-1)[:, 1:].reshape(-1)
        sides = boxes[:, 2:] - boxes[:, :2]
        valid = ((scores > self.score_thresh) & (sides >= MIN_SIZE).all(dim=1)).nonzero().squeeze(1)
        boxes, scores, labels = boxes[valid], scores[valid], valid % findings + 1
        image = proposals.image[valid.div(findings, rounding_mode="floor")]
        group = image * findings + labels - 1
        kept = suppress(boxes, scores, image, group, images, nms_thresh=self.nms_thresh, top_n=self.detections_per_img)
        found = {"boxes": boxes[kept.rows], "labels": labels[kept.rows], "scores": scores[kept.rows]}
        if self.has_mask:
            detected = FlatBoxes(found["boxes"], image[kept.rows], kept.counts)
            found["masks"] = mask_probabilities(self._predict_masks(side, features, detected), found["labels"])
        parts = {name: torch.split(values, kept.counts) for name, values in found.items()}
        return [{name: values[i] for name, values in parts.items()} for i in range(images)]


def _add_ground_truth(proposals: list[Tensor], targets: list[TargetDict]) -> list[Tensor]:
    """The proposals of each image and, after them, its targets' boxes."""
    return [torch.cat((p, t["boxes"].to(p.dtype))) for p, t in zip(proposals, targets, strict=True)]


def _detected_rows(boxes: FlatBoxes, proposals: list[Tensor], samples: _Samples | None, mode: RoiMode) -> Tensor:
    """The rows that detections come from in an evaluation that samples with the targets."""
    if samples is None:
        raise ValueError(f"detections from {mode.detect} boxes need targets")
    if mode.detect == "sampled_and_ground_truth":
        return samples.rows
    proposed = torch.cat(
        [torch.arange(n, device=boxes.flat.device) < len(p) for n, p in zip(boxes.counts, proposals, strict=True)]
    )
    return samples.rows[proposed[samples.rows]]
