"""The multimodal Faster R-CNN: image network, clinical branch, fusion, proposals, RoI heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from mmad.base.records import ClinicalColumns
from mmad.detector.backbones import build_image_network
from mmad.detector.clinical import ClinicalVector, Fusion, encoder, expansion, fuse_convs
from mmad.detector.roi_heads import CLEAN, RoiMode, build_detection_heads
from mmad.detector.rpn import Target, build_proposal_network
from mmad.spec.setup import ModelSetup

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DetectorOutput:
    """Losses (empty without targets) and, per image, ``boxes`` (d, 4), ``labels`` and ``scores`` (d,)."""

    losses: Mapping[str, Tensor]
    detections: list[dict[str, Tensor]]


class MultimodalRCNN(nn.Module):
    """A Faster R-CNN that reads an X-ray and, with ``use_clinical``, a vector of clinical values.

    Args:
        setup: the hyper-parameters.
        labels: how many findings there are, the background not counted.
        columns: the clinical columns it reads (idle without ``use_clinical``).
    """

    def __init__(self, setup: ModelSetup, labels: int, columns: ClinicalColumns) -> None:
        super().__init__()
        era = setup.resolved_era if setup.use_clinical else None
        self.backbone = build_image_network(setup)
        channels = self.backbone.out_channels
        self.reads_roi_vector = era == "C" and setup.add_clinical_to_roi_heads
        self.spatialises = era == "A" or (era == "C" and setup.spatialise_clinical)
        if era is not None:
            self.clinical_vector = ClinicalVector(columns, setup.clinical_input_channels)
        if era == "A":
            self._build_era_a(setup, channels)
        if era == "C":
            self._build_era_c(setup)
        self.rpn = build_proposal_network(setup, channels)
        beside = setup.clinical_input_channels if self.reads_roi_vector else 0
        self.roi_heads = build_detection_heads(setup, channels, beside, labels + 1)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1) * 255, persistent=False)

    def _build_era_a(self, setup: ModelSetup, channels: int) -> None:
        length, width = setup.clinical_input_channels, setup.clinical_conv_channels
        self.clinical_expand = expansion(
            setup.image_size, length, length, length, setup.clinical_expand_dropout_rate, last_relu=True
        )
        self.clinical_convs: nn.Module = encoder(
            self.backbone.stride, length, width, channels, setup.clinical_conv_dropout_rate
        )
        joined = 2 * channels if setup.fusion_strategy == "concat" else channels
        convs = fuse_convs(setup.fuse_depth, joined, width, channels, setup.fuse_stride, setup.fuse_dropout_rate)
        self.fuse_convs = Fusion(convs, setup.fusion_strategy, residual=setup.fusion_residule)

    def _build_era_c(self, setup: ModelSetup) -> None:
        # The second network is built whenever clinical data is used, as documented, also where it stays idle.
        self.clinical_convs = build_image_network(setup)
        if setup.spatialise_clinical:
            width = setup.clinical_expand_conv_channels or setup.clinical_conv_channels
            self.clinical_expand = expansion(
                setup.image_size, setup.clinical_input_channels, width, 3, 0.0, last_relu=False
            )
            self.fuse_convs = Fusion(nn.Sequential(), "add", residual=False)

    def forward(
        self,
        images: Tensor,
        targets: list[Target] | None = None,
        numeric: Tensor | None = None,
        categorical: Tensor | None = None,
        mode: RoiMode = CLEAN,
    ) -> DetectorOutput:
        """Detect findings; with targets also compute the losses, in training and in evaluation.

        Args:
            images: (B, 1 or 3, S, S), grey values 0 to 255 of any number type.
            targets: per image ``boxes`` (n, 4) in pixels and ``labels`` (n,) from 1, or None.
            numeric: (B, n) clinical numbers; needed with ``use_clinical``.
            categorical: (B, k) codes, -1 for unknown; needed with ``use_clinical``.
            mode: whose boxes the RoI heads look at; the detections of CLEAN never see the targets.
        """
        batch = self.normalise(images)  # (B, 3, S, S)
        features = self.backbone(batch.tensors)  # {"0": (B, C, h, w)}
        vector = self._vector(numeric, categorical)  # (B, K) or None
        if self.spatialises and vector is not None:
            features = self.fuse_convs(features, self._clinical_maps(vector))
        proposals, rpn_losses = self.rpn(batch, features, targets)
        detections, roi_losses = self.roi_heads(
            features,
            proposals,
            batch.image_sizes,
            targets,
            clinical=vector if self.reads_roi_vector else None,
            mode=mode,
        )
        return DetectorOutput({**roi_losses, **rpn_losses}, detections)

    def normalise(self, images: Tensor) -> ImageList:
        """Grey pixels to three channels with ImageNet's mean and deviation."""
        height, width = images.shape[-2:]
        pixels = (images.to(self.mean.dtype) - self.mean) / self.deviation
        return ImageList(pixels, [(height, width)] * len(images))

    def _vector(self, numeric: Tensor | None, categorical: Tensor | None) -> Tensor | None:
        if not hasattr(self, "clinical_vector"):
            return None
        if numeric is None or categorical is None:
            raise ValueError("a detector with use_clinical needs numeric and categorical values")
        vector: Tensor = self.clinical_vector(numeric, categorical)
        return vector

    def _clinical_maps(self, vector: Tensor) -> OrderedDict[str, Tensor]:
        image = self.clinical_expand(vector[:, :, None, None])  # (B, K or 3, S, S)
        maps = self.clinical_convs(image)
        return maps if isinstance(maps, OrderedDict) else OrderedDict([("0", maps)])
