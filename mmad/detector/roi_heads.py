"""The RoI heads: from proposals to losses and detections, in training and in evaluation alike.

Which boxes the heads look at, and which of them count, is said by :class:`RoiMode`. In an evaluation the
heads run once per batch, and losses and detections take their rows from that pass.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from mmad.detector.rpn import Target
from mmad.spec.setup import ModelSetup

POOL = 7  # cells per side of a RoI's features


@dataclass(frozen=True)
class RoiMode:
    """Which boxes the heads look at.

    ``add_ground_truth`` appends the targets' boxes to the proposals. Detections come from all proposals
    (``detect = "proposals"``), from those the sampling with the targets kept (``"sampled"``), or from
    those and the appended boxes (``"sampled_and_given"``). In training the detections are always of the
    clean proposals; ``"none"`` makes none there.
    """

    add_ground_truth: bool
    detect: str


CLEAN = RoiMode(add_ground_truth=False, detect="proposals")
SAMPLED = RoiMode(add_ground_truth=False, detect="sampled")
WITH_GROUND_TRUTH = RoiMode(add_ground_truth=True, detect="sampled_and_given")
EVALUATION_MODES = {"clean": CLEAN, "sampled": SAMPLED, "with_ground_truth": WITH_GROUND_TRUTH}


class BoxHead(nn.Module):
    """Two linear layers over a RoI's flattened features, beside which the clinical vector may stand.

    Dropout stands between each linear layer and its ReLU, where the documented network has it.
    """

    def __init__(self, channels: int, clinical: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * POOL * POOL + clinical, width)
        self.fc7 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, clinical: Tensor | None) -> Tensor:
        """(R, C, 7, 7) features and (R, K) clinical vectors give (R, width)."""
        flat = features.flatten(start_dim=1)
        if clinical is not None:
            flat = torch.cat((flat, clinical), dim=1)
        hidden = torch.relu(self.dropout(self.fc6(flat)))
        return torch.relu(self.dropout(self.fc7(hidden)))


@dataclass(frozen=True)
class _Matches:
    """Per image: the rows sampled for the losses, their labels and regression targets."""

    rows: list[Tensor]
    labels: list[Tensor]
    regression: list[Tensor]


class DetectionHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's RoI heads with losses and detections side by side (He et al., arXiv:1703.06870)."""

    def forward(
        self,
        features: OrderedDict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
        clinical: Tensor | None = None,
        mode: RoiMode = CLEAN,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Classify and refine proposals.

        Args:
            features: the maps, (B, C, h, w) each.
            proposals: per image (p, 4) boxes in pixels of the S×S image.
            image_shapes: per image (height, width).
            targets: per image ``boxes`` (n, 4) and ``labels`` (n,) from 1; with them the losses are computed.
            clinical: (B, K) vectors to append to every RoI of an image, or None.
            mode: which boxes count; anything but CLEAN needs targets.

        Returns:
            Per image ``boxes`` (d, 4), ``labels`` (d,) and ``scores`` (d,), and the losses
            ``loss_classifier`` and ``loss_box_reg``.
        """
        if self.training and targets is not None:
            return self._train(features, proposals, image_shapes, targets, clinical, mode)
        boxes = _with_given(proposals, targets) if mode.add_ground_truth and targets else proposals
        logits, deltas = self._read(features, boxes, image_shapes, clinical)
        losses: dict[str, Tensor] = {}
        matches: _Matches | None = None
        if targets is not None:
            matches = self._match(boxes, targets)
            taken = _batch_rows(matches.rows, [len(b) for b in boxes])
            losses = _losses(logits[taken], deltas[taken], matches)
        detections = self._detect(logits, deltas, boxes, image_shapes, [len(p) for p in proposals], matches, mode)
        return detections, losses

    def _train(
        self,
        features: OrderedDict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target],
        clinical: Tensor | None,
        mode: RoiMode,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Losses of the sampled boxes alone; detections, if wanted, of the clean proposals without gradient."""
        boxes = _with_given(proposals, targets) if mode.add_ground_truth else proposals
        matches = self._match(boxes, targets)
        sampled = [b[rows] for b, rows in zip(boxes, matches.rows, strict=True)]
        losses = _losses(*self._read(features, sampled, image_shapes, clinical), matches)
        if mode.detect == "none":
            return [], losses
        with torch.no_grad():
            logits, deltas = self._read(features, proposals, image_shapes, clinical)
        return self._detect(logits, deltas, proposals, image_shapes, [], None, CLEAN), losses

    def _read(
        self,
        features: OrderedDict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
        clinical: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        pooled = self.box_roi_pool(features, boxes, image_shapes)  # (R, C, 7, 7)
        if clinical is not None:
            counts = torch.tensor([len(b) for b in boxes], device=clinical.device)
            clinical = clinical.repeat_interleave(counts, dim=0)  # (R, K)
        return self.box_predictor(self.box_head(pooled, clinical))  # type: ignore[no-any-return]

    def _match(self, boxes: list[Tensor], targets: list[Target]) -> _Matches:
        truth = [t["boxes"].to(b.dtype) for t, b in zip(targets, boxes, strict=True)]
        matched, labels = self.assign_targets_to_proposals(boxes, truth, [t["labels"] for t in targets])
        rows = self.subsample(labels)
        wanted = []
        for i, kept in enumerate(rows):
            of_image = truth[i] if len(truth[i]) else boxes[i].new_zeros((1, 4))
            wanted.append(of_image[matched[i][kept]])
        regression = self.box_coder.encode(wanted, [b[kept] for b, kept in zip(boxes, rows, strict=True)])
        return _Matches(rows, [lab[kept] for lab, kept in zip(labels, rows, strict=True)], list(regression))

    @torch.no_grad()
    def _detect(
        self,
        logits: Tensor,
        deltas: Tensor,
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
        proposed: list[int],
        matches: _Matches | None,
        mode: RoiMode,
    ) -> list[dict[str, Tensor]]:
        if mode.detect != "proposals":
            if matches is None:
                raise ValueError(f"detections from {mode.detect} boxes need targets")
            rows = matches.rows
            if mode.detect == "sampled":
                rows = [r[r < n] for r, n in zip(rows, proposed, strict=True)]
            taken = _batch_rows(rows, [len(b) for b in boxes])
            logits, deltas = logits[taken], deltas[taken]
            boxes = [b[r] for b, r in zip(boxes, rows, strict=True)]
        found, scores, labels = self.postprocess_detections(logits.detach(), deltas.detach(), boxes, image_shapes)
        return [{"boxes": b, "scores": s, "labels": lab} for b, s, lab in zip(found, scores, labels, strict=True)]


def _with_given(proposals: list[Tensor], targets: list[Target]) -> list[Tensor]:
    """The proposals of each image and, after them, its targets' boxes."""
    return [torch.cat((p, t["boxes"].to(p.dtype))) for p, t in zip(proposals, targets, strict=True)]


def _losses(logits: Tensor, deltas: Tensor, matches: _Matches) -> dict[str, Tensor]:
    classifier, box = fastrcnn_loss(logits, deltas, matches.labels, matches.regression)
    return {"loss_classifier": classifier, "loss_box_reg": box}


def _batch_rows(rows: list[Tensor], counts: list[int]) -> Tensor:
    """Rows within images to rows within the batch."""
    starts = [sum(counts[:i]) for i in range(len(counts))]
    return torch.cat([r + start for r, start in zip(rows, starts, strict=True)])


def build_detection_heads(setup: ModelSetup, channels: int, clinical: int, classes: int) -> DetectionHeads:
    """The RoI heads of ``setup``: ``classes`` counts the background, ``clinical`` the values beside a RoI."""
    return DetectionHeads(
        box_roi_pool=MultiScaleRoIAlign(featmap_names=["0"], output_size=POOL, sampling_ratio=2),
        box_head=BoxHead(channels, clinical, setup.representation_size, setup.box_head_dropout_rate),
        box_predictor=FastRCNNPredictor(setup.representation_size, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=setup.box_batch_size_per_image,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=setup.box_score_thresh,
        nms_thresh=setup.box_nms_thresh,
        detections_per_img=setup.box_detections_per_img,
    )
