"""The RoI heads: from proposals to losses and detections, in training and in evaluation alike.

``RoiMode`` says which boxes the heads read, and which of them count. In an evaluation the heads run once per batch, and
losses and detections take their rows from that pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import clip_boxes_to_image, roi_align

from mmad.config.named_parts import is_own
from mmad.config.setup import ModelSetup
from mmad.detector.boxes import (
    BACKGROUND,
    BoxCoder,
    FlatBoxes,
    Kept,
    Sampler,
    assign,
    count_per,
    pad,
    read,
    rows_of,
    suppress,
    upcast,
)
from mmad.detector.parts import make_part
from mmad.detector.pooling import PooledMaps
from mmad.detector.rpn import BETA, TargetDict
from mmad.detector.undrawn import Undrawn

BOX_POOL = 7  # cells per side of a RoI's features
MASK_POOL = 14  # cells per side of the features a mask is predicted from
MASK_DEPTH = 4  # convolutions of the mask head
MIN_SIZE = 1e-2  # pixels a detection's sides must have

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
class _Drawn:
    """Of every box (R,) its label, the row of its true box in its image, and whether it was drawn for the losses."""

    truth: Tensor  # (B, M, 4)
    first: Tensor  # (B,) the row of an image's first true box among those of all images
    labels: Tensor
    best: Tensor
    positive: Tensor
    sampled: Tensor


@dataclass(frozen=True)
class _Samples:
    """The boxes drawn for the losses, their flat rows, and of each its label, regression target and true box's row."""

    boxes: FlatBoxes
    rows: Tensor
    labels: Tensor
    regression_targets: Tensor
    truth: Tensor  # among the true boxes of all images, one image after the other; of positives alone
    positive: Tensor  # rows among these
    positive_counts: list[int]
    positive_per_level: list[int]


@dataclass(frozen=True)
class _Candidates:
    """A box for every finding of every proposal: (R · findings, 4), (R · findings,) each, and its image."""

    boxes: Tensor
    scores: Tensor
    valid: Tensor
    image: Tensor
    findings: int
    images: int

    def counts(self) -> Tensor:
        """Valid ones per image, (images,)."""
        return count_per(self.image, self.valid, self.images)


class Found(Sequence[dict[str, Tensor]]):
    """Detections per image: ``boxes`` (d, 4), ``labels`` (d,) and ``scores`` (d,).

    How many an image has is read of the device when the first is asked for: a training asks when its epoch is over.

    Args:
        padded: (B, T, …) each.
        counts: (B,) on the device.
    """

    def __init__(self, padded: dict[str, Tensor], counts: Tensor) -> None:
        self._padded, self._counts = padded, counts

    @cached_property
    def _rows(self) -> list[dict[str, Tensor]]:
        (counts,) = read(self._counts)
        return [{name: values[i, :n] for name, values in self._padded.items()} for i, n in enumerate(counts)]

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self._rows[place]


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
        self.has_mask = setup.use_mask
        with Undrawn():  # type: ignore[no-untyped-call]
            if self.has_mask:
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
        maps: PooledMaps,
        proposals: FlatBoxes,
        targets: list[TargetDict] | None = None,
        clinical: Tensor | None = None,
        mode: RoiMode = CLEAN,
        prior: Tensor | None = None,
    ) -> tuple[Sequence[dict[str, Tensor]], dict[str, Tensor]]:
        """Classify and refine proposals.

        Args:
            maps: what boxes are pooled from.
            proposals: boxes in pixels of the S×S image.
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
            return self._train(maps, proposals, targets, clinical, mode, prior)
        boxes = _add_ground_truth(proposals, targets) if mode.add_ground_truth and targets else proposals
        logits, deltas = self._predict_boxes(maps, boxes, clinical, prior)
        losses: dict[str, Tensor] = {}
        samples: _Samples | None = None
        if targets is not None:
            samples, _ = self._sample(maps, boxes, targets)
            losses = self._losses(maps, logits[samples.rows], deltas[samples.rows], samples, targets)
        if mode.detect != "proposals":
            rows, counts = _detected_rows(boxes, proposals, samples, mode)
            boxes, logits, deltas = boxes.take(rows, counts), logits[rows], deltas[rows]
        candidates = self._candidates(maps.side, logits, deltas, boxes)
        (valid,) = read(candidates.counts())
        return self._detect(maps, candidates, valid), losses

    def _train(
        self,
        maps: PooledMaps,
        proposals: FlatBoxes,
        targets: list[TargetDict],
        clinical: Tensor | None,
        mode: RoiMode,
        prior: Tensor | None,
    ) -> tuple[Sequence[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses of the sampled boxes alone; detections, if wanted, of the clean proposals without gradient.

        The reading of the clean proposals is without dropout, as in an evaluation: it draws no number that the
        training would draw. It comes first, so that all sizes are read at once.
        """
        candidates: _Candidates | None = None
        if mode.detect != "none":
            with torch.no_grad(), _no_cast_kept():
                self.box_head.eval()
                logits, deltas = self._predict_boxes(maps, proposals, clinical, prior)
                self.box_head.train()
                candidates = self._candidates(maps.side, logits, deltas, proposals)
        boxes = _add_ground_truth(proposals, targets) if mode.add_ground_truth else proposals
        samples, valid = self._sample(maps, boxes, targets, *([] if candidates is None else [candidates.counts()]))
        logits, deltas = self._predict_boxes(maps, samples.boxes, clinical, prior)
        losses = self._losses(maps, logits, deltas, samples, targets)
        return [] if candidates is None else self._detect(maps, candidates, *valid), losses

    def _predict_boxes(
        self, maps: PooledMaps, boxes: FlatBoxes, clinical: Tensor | None, prior: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, classes) and box deltas (R, classes · 4) of RoIs."""
        pooled = maps.pool(boxes, BOX_POOL)  # (R, C, 7, 7)
        roi_clinical = None if clinical is None else clinical[boxes.image]  # (R, K)
        logits, deltas = self.box_predictor(self.box_head(pooled, roi_clinical))
        if prior is not None:
            logits = logits + F.pad(prior, (1, 0))[boxes.image].to(logits.dtype)  # nothing for the background
        return upcast(logits), upcast(deltas)

    def _predict_masks(self, maps: PooledMaps, boxes: FlatBoxes) -> Tensor:
        """Mask logits (R, classes, 28, 28) of RoIs."""
        return upcast(self.mask_predictor(self.mask_head(maps.pool(boxes, MASK_POOL))))

    @torch.no_grad()
    def _sample(
        self, maps: PooledMaps, boxes: FlatBoxes, targets: list[TargetDict], *more: Tensor
    ) -> tuple[_Samples, list[list[int]]]:
        """Draw a balanced sample of ``boxes`` for the losses; with it ``more`` counts are read."""
        drawn = self._draw(boxes, targets)
        levels = maps.levels(boxes.flat) if boxes.levels is None else boxes.levels
        images = len(boxes.counts)
        counts, on_level, positive_counts, positive_on_level, *others = read(
            count_per(boxes.image, drawn.sampled, images),
            maps.count(levels, drawn.sampled),
            count_per(boxes.image, drawn.positive, images),
            maps.count(levels, drawn.positive),
            *more,
        )
        rows = rows_of(drawn.sampled, sum(counts))
        image, best, labels = boxes.image[rows], drawn.best[rows], drawn.labels[rows]
        taken = FlatBoxes(boxes.flat[rows], image, counts, None if levels is None else levels[rows], on_level)
        samples = _Samples(
            taken,
            rows,
            labels,
            self.coder.encode(drawn.truth[image, best], taken.flat),
            drawn.first[image] + best,
            rows_of(labels > 0, sum(positive_counts)),
            positive_counts,
            positive_on_level,
        )
        return samples, others

    def _draw(self, boxes: FlatBoxes, targets: list[TargetDict]) -> _Drawn:
        """Assign the targets to ``boxes``, and draw."""
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
        numbers = real.sum(dim=1)
        places = boxes.places(padded.shape[1])
        flat = [values.view(-1)[places] for values in (labels, best, positive, positive | negative)]
        return _Drawn(truth, numbers.cumsum(0) - numbers, *flat)

    def _losses(
        self, maps: PooledMaps, logits: Tensor, deltas: Tensor, samples: _Samples, targets: list[TargetDict]
    ) -> dict[str, Tensor]:
        """torchvision's ``fastrcnn_loss`` and ``maskrcnn_loss`` of the sampled boxes."""
        labels, positive = samples.labels, samples.positive
        own_class = labels[positive]
        if len(labels):
            classifier = F.cross_entropy(logits, labels)
            found = deltas.view(len(labels), -1, 4)[positive, own_class]
            wanted = samples.regression_targets[positive]
            if hasattr(self, "box_loss"):
                box = self.box_loss(found, wanted) / labels.numel()
            else:
                box = F.smooth_l1_loss(found, wanted, beta=BETA, reduction="sum") / labels.numel()
        else:  # the mean over no box is not a number
            classifier, box = logits.sum() * 0, deltas.sum() * 0
        losses = {"loss_classifier": classifier, "loss_box_reg": box}
        if self.has_mask:
            rois = samples.boxes.take(positive, samples.positive_counts, samples.positive_per_level)
            mask_logits = self._predict_masks(maps, rois)
            losses["loss_mask"] = mask_loss(
                mask_logits, rois.flat, own_class, true_masks(targets, maps.side), samples.truth[positive]
            )
        return losses

    def decode(self, side: int, logits: Tensor, deltas: Tensor, proposals: FlatBoxes) -> Tensor:
        """The refined box of every proposal and finding, (R, findings, 4)."""
        boxes = self.coder.decode(deltas.detach(), proposals.flat)[:, 1:]  # no background
        clipped: Tensor = clip_boxes_to_image(boxes, (side, side))
        return clipped

    @torch.no_grad()
    def _candidates(self, side: int, logits: Tensor, deltas: Tensor, proposals: FlatBoxes) -> _Candidates:
        """The refined boxes of every finding, and which of them pass the score threshold."""
        findings = logits.shape[1] - 1
        boxes = self.decode(side, logits, deltas, proposals).reshape(-1, 4)
        scores = logits.detach().softmax(dim=-1)[:, 1:].reshape(-1)
        sides = boxes[:, 2:] - boxes[:, :2]
        valid = (scores > self.score_thresh) & (sides >= MIN_SIZE).all(dim=1)
        image = proposals.image[:, None].expand(-1, findings).reshape(-1)
        return _Candidates(boxes, scores, valid, image, findings, len(proposals.counts))

    @torch.no_grad()
    def _detect(
        self, maps: PooledMaps, candidates: _Candidates, valid_per_image: list[int]
    ) -> Sequence[dict[str, Tensor]]:
        """The candidates that are left of every finding after non-maximum suppression, and their masks."""
        valid = rows_of(candidates.valid, sum(valid_per_image))
        boxes, scores, image = candidates.boxes[valid], candidates.scores[valid], candidates.image[valid]
        labels = valid % candidates.findings + 1
        kept = suppress(
            boxes,
            scores,
            image,
            image * candidates.findings + labels - 1,
            valid_per_image,
            nms_thresh=self.nms_thresh,
            top_n=self.detections_per_img,
        )
        values = {"boxes": boxes, "labels": labels, "scores": scores}
        padded = {name: value[kept.rows] for name, value in values.items()}
        return self._with_masks(maps, padded, kept) if self.has_mask else Found(padded, kept.counts)

    def _with_masks(self, maps: PooledMaps, padded: dict[str, Tensor], kept: Kept) -> list[dict[str, Tensor]]:
        """The detections with the mask of each: how many there are has to be known."""
        boxes, real = padded["boxes"].view(-1, 4), kept.real.view(-1)
        levels = maps.levels(boxes)
        counts, on_level = read(kept.counts, maps.count(levels, real))
        rows = rows_of(real, sum(counts))
        image = rows.div(max(1, kept.rows.shape[1]), rounding_mode="floor")
        detected = FlatBoxes(boxes[rows], image, counts, None if levels is None else levels[rows], on_level)
        flat = {name: value.flatten(0, 1)[rows] for name, value in padded.items()}
        flat["masks"] = mask_probabilities(self._predict_masks(maps, detected), flat["labels"])
        parts = {name: torch.split(values, counts) for name, values in flat.items()}
        return [{name: values[i] for name, values in parts.items()} for i in range(len(counts))]


@contextmanager
def _no_cast_kept() -> Iterator[None]:
    """Half-precision copies of weights that are made here without a gradient are not those that are trained on."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _add_ground_truth(proposals: FlatBoxes, targets: list[TargetDict]) -> FlatBoxes:
    """The proposals of each image and, after them, its targets' boxes."""
    pairs = zip(proposals.split(), targets, strict=True)
    return FlatBoxes.of([torch.cat((p, t["boxes"].to(p.dtype))) for p, t in pairs])


def _detected_rows(
    boxes: FlatBoxes, proposals: FlatBoxes, samples: _Samples | None, mode: RoiMode
) -> tuple[Tensor, list[int]]:
    """The rows that detections come from in an evaluation that samples with the targets, and how many per image."""
    if samples is None:
        raise ValueError(f"detections from {mode.detect} boxes need targets")
    if mode.detect == "sampled_and_ground_truth":
        return samples.rows, samples.boxes.counts
    sizes = zip(boxes.counts, proposals.counts, strict=True)
    proposed = torch.cat([torch.arange(n, device=boxes.flat.device) < own for n, own in sizes])[samples.rows]
    (counts,) = read(count_per(samples.boxes.image, proposed, len(boxes.counts)))
    return samples.rows[rows_of(proposed, sum(counts))], counts
