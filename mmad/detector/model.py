"""The multimodal Faster and Mask R-CNN: image network, clinical branch, fusion, proposals, RoI heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmad.base.errors import SpecError
from mmad.base.records import ClinicalColumns
from mmad.config.checks import misfit, shrunken
from mmad.config.setup import Era, ModelSetup
from mmad.detector.backbones import build_image_network
from mmad.detector.clinical import CLINICAL_IMAGE, ClinicalVector, Encoder, expansion
from mmad.detector.fusion import build_fusion
from mmad.detector.roi_heads import CLEAN, DetectionHeads, RoiMode
from mmad.detector.rpn import ProposalNetwork, Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DetectorOutput:
    """Losses (empty without targets) and, per image, ``boxes`` (d, 4), ``labels`` and ``scores`` (d,)."""

    losses: Mapping[str, Tensor]
    detections: list[dict[str, Tensor]]


class MultimodalRCNN(nn.Module):
    """A Faster or Mask R-CNN that reads an X-ray and, with ``use_clinical``, a vector of clinical values.

    Args:
        setup: the hyper-parameters.
        labels: how many findings there are, the background not counted.
        columns: the clinical columns it reads (idle without ``use_clinical``).

    Raises:
        SpecError: a timm backbone that is not there or whose maps do not fit, or columns that the clinical vector
            has no room for.
    """

    def __init__(self, setup: ModelSetup, labels: int, columns: ClinicalColumns) -> None:
        super().__init__()
        self.setup = setup = setup.stock()
        self.backbone = build_image_network(setup)
        if (said := misfit(setup, self._sides())) is not None:  # of timm's networks only now the maps are known
            raise SpecError(said)
        channels = self.backbone.out_channels
        era = setup.resolved_era if setup.use_clinical else None
        self.reads_roi_vector = era == "C" and setup.add_clinical_to_roi_heads
        self.spatialises = era is not None and (era != "C" or setup.spatialise_clinical)
        self.repeats = self.spatialises and setup.spatialise_method == "repeat"
        if era is not None:
            self.clinical_vector = ClinicalVector(
                columns,
                setup.clinical_input_channels,
                indicators=setup.clinical_missing_indicators,
                unknown_slot=setup.clinical_unknown_slot,
            )
            self._build_clinical(setup, era, channels)
        self.rpn = ProposalNetwork(setup, channels)
        beside = setup.clinical_input_channels if self.reads_roi_vector else 0
        self.roi_heads = DetectionHeads(setup, channels, beside, labels + 1)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1) * 255, persistent=False)

    def _build_clinical(self, setup: ModelSetup, era: Era, channels: int) -> None:
        """The modules between the clinical vector and the fused maps, named as the documented log prints them."""
        length = setup.clinical_input_channels
        strides, levels = self.backbone.strides, self.backbone.levels
        clinical = channels
        if self.repeats:
            clinical = channels if setup.pre_spatialised_layer else length
        elif era == "A":
            width = setup.clinical_conv_channels
            self.clinical_convs: nn.Module = Encoder(
                strides, levels, width, width, channels, setup.clinical_conv_dropout_rate
            )
        else:
            # Built whenever clinical data is used, as documented, also where it stays idle.
            self.clinical_convs = build_image_network(setup)
        if not self.spatialises:
            return
        if setup.pre_spatialised_layer and era == "C":
            wide = channels if self.repeats else length
            self.clinical_mix = nn.Sequential(nn.Linear(length, wide), nn.ReLU())
        if not self.repeats:
            self.clinical_expand = _expansion(setup, era)
        self.fuse_convs = build_fusion(setup, levels, channels, clinical)

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
            targets: per image ``boxes`` (n, 4) in pixels, ``labels`` (n,) from 1 and, for a mask head, perhaps
                ``masks`` (n, S, S), which else are the filled boxes; or None.
            numeric: (B, n) clinical numbers, then their missing-value indicators if the setup has them; needed
                with ``use_clinical``.
            categorical: (B, k) codes, -1 for unknown; needed with ``use_clinical``.
            mode: whose boxes the RoI heads look at; the detections of CLEAN never see the targets.
        """
        vector = self._vector(numeric, categorical)  # (B, K) or None
        features = self._fused(images, vector)
        side = images.shape[-1]
        proposals, rpn_losses = self.rpn(side, features, targets)
        beside = vector if self.reads_roi_vector else None
        detections, roi_losses = self.roi_heads(side, features, proposals, targets, beside, mode)
        return DetectorOutput({**roi_losses, **rpn_losses}, detections)

    def warning(self) -> str | None:
        """What a user should know of this network before trusting it: a fused map of 1×1; else None."""
        return shrunken(self.setup, self._sides())

    def _sides(self) -> tuple[int, ...]:
        return tuple(-(-self.setup.image_size // stride) for stride in self.backbone.strides)

    def feature_maps(
        self, images: Tensor, numeric: Tensor | None = None, categorical: Tensor | None = None
    ) -> OrderedDict[str, Tensor]:
        """The maps the RPN and the RoI heads read, (B, C, h, w) per level; arguments as in ``forward``."""
        return self._fused(images, self._vector(numeric, categorical))

    def _fused(self, images: Tensor, vector: Tensor | None) -> OrderedDict[str, Tensor]:
        maps: OrderedDict[str, Tensor] = self.backbone(self.normalise(images))
        if not self.spatialises or vector is None:
            return maps
        if hasattr(self, "clinical_mix"):
            vector = self.clinical_mix(vector)
        spread = vector[:, :, None, None]  # (B, K, 1, 1)
        if self.repeats:
            clinical = OrderedDict((name, spread.expand(-1, -1, *m.shape[-2:])) for name, m in maps.items())
        else:
            clinical = self.clinical_convs(self.clinical_expand(spread))
        fused: OrderedDict[str, Tensor] = self.fuse_convs(maps, clinical)
        return fused

    def normalise(self, images: Tensor) -> Tensor:
        """Grey pixels to three channels with ImageNet's mean and deviation, (B, 3, S, S)."""
        return (images.to(self.mean.dtype) - self.mean) / self.deviation

    def _vector(self, numeric: Tensor | None, categorical: Tensor | None) -> Tensor | None:
        if not hasattr(self, "clinical_vector"):
            return None
        if numeric is None or categorical is None:
            raise ValueError("a detector with use_clinical needs numeric and categorical values")
        vector: Tensor = self.clinical_vector(numeric, categorical)
        return vector


def _expansion(setup: ModelSetup, era: Era) -> nn.Sequential:
    """The expansion of ``era`` from the clinical vector to the image's size."""
    length, size = setup.clinical_input_channels, setup.image_size
    if era == "A":
        width, dropout = setup.clinical_conv_channels, setup.clinical_expand_dropout_rate
        return expansion(size, length, width, width, dropout, last_relu=not setup.using_fpn)
    if era == "B":
        width = setup.clinical_conv_channels
        return expansion(size, length, width, CLINICAL_IMAGE, 0.0, last_relu=False, narrows="up")
    width = setup.clinical_expand_conv_channels or setup.clinical_conv_channels
    return expansion(size, length, width, CLINICAL_IMAGE, 0.0, last_relu=False)
