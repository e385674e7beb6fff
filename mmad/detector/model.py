"""The multimodal Faster and Mask R-CNN: image network, clinical branch, fusion, proposals, RoI heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mmad.base.errors import SpecError
from mmad.base.records import ClinicalColumns
from mmad.config.named_parts import is_own
from mmad.config.setup import Era, ModelSetup, misfit
from mmad.config.setup_checks import network_warnings
from mmad.detector.backbones import build_image_network, own_body
from mmad.detector.clinical import CLINICAL_IMAGE, Encoder, Repeat, build_fusion, expansion, vector_layers
from mmad.detector.fusions import ClassPrior, FusionShape
from mmad.detector.parts import make_part
from mmad.detector.pooling import PooledMaps
from mmad.detector.roi_heads import CLEAN, DetectionHeads, RoiMode
from mmad.detector.rpn import ProposalNetwork, TargetDict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DetectorOutput:
    """Losses (empty without targets) and, per image, ``boxes`` (d, 4), ``labels`` and ``scores`` (d,)."""

    losses: Mapping[str, Tensor]
    detections: Sequence[dict[str, Tensor]]


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
        self.labels = labels
        self.backbone = build_image_network(setup)
        if (problem := misfit(setup, self._sides())) is not None:  # timm's maps are known only now
            raise SpecError(problem)
        channels = self.backbone.out_channels
        era = setup.era_form
        self.adds_clinical_to_roi_heads = era == "C" and setup.add_clinical_to_roi_heads
        self.spatialises = era is not None and (era != "C" or setup.spatialise_clinical)
        self.repeats_vector = self.spatialises and setup.spatialise_method == "repeat"
        #: What makes a part that a setup names anew, by its module's name; the documented ones are drawn otherwise.
        self.redrawn: dict[str, Callable[[], nn.Module]] = {}
        if is_own(setup.backbone):
            self.redrawn["backbone.body"] = partial(own_body, setup)
        if setup.use_clinical:
            encoder = self._encoder(columns)
            self.clinical_vector = encoder()
            if setup.clinical_encoder_name != "vector":
                self.redrawn["clinical_vector"] = encoder
        if era is not None:
            self._build_clinical(setup, era, channels)
        elif setup.use_clinical:
            shape = FusionShape(self.backbone.levels, channels, setup.clinical_input_channels, labels)
            self.redrawn["clinical_fusion"] = partial(make_part, "fusion", setup.fusion, shape)
            self.clinical_fusion = self.redrawn["clinical_fusion"]()
        self.rpn = ProposalNetwork(setup, channels)
        roi_clinical = setup.clinical_input_channels if self.adds_clinical_to_roi_heads else 0
        self.roi_heads = DetectionHeads(setup, channels, roi_clinical, labels + 1)
        if is_own(setup.box_loss):
            self.redrawn["roi_heads.box_loss"] = partial(make_part, "box_loss", setup.box_loss)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1) * 255, persistent=False)

    def _encoder(self, columns: ClinicalColumns) -> Callable[[], nn.Module]:
        setup = self.setup
        return partial(
            make_part,
            "clinical_encoder",
            setup.clinical_encoder or setup.clinical_encoder_name,
            columns,
            setup.clinical_input_channels,
            indicators=setup.missing_indicators,
            unknown_slot=setup.clinical_unknown_slot,
        )

    def _build_clinical(self, setup: ModelSetup, era: Era, channels: int) -> None:
        """The modules between the clinical vector and the fused maps, named as the documented log prints them."""
        length = setup.clinical_input_channels
        strides, levels = self.backbone.strides, self.backbone.levels
        if era == "A":
            width = setup.clinical_conv_channels
            self.clinical_convs: nn.Module = Encoder(
                strides,
                levels,
                width,
                width,
                channels,
                setup.clinical_conv_dropout_rate,
                last_relu=setup.clinical_last_relu,
            )
        elif not self.repeats_vector and (self.spatialises or setup.clinical_idle_network):
            self.clinical_convs = build_image_network(setup)
            if "backbone.body" in self.redrawn:
                self.redrawn["clinical_convs.body"] = self.redrawn["backbone.body"]
        if not self.spatialises:
            return
        if setup.pre_spatialised_layer and era == "C":
            self.clinical_mix = vector_layers(length, setup.pre_spatialised_layer)
        if self.repeats_vector:
            self.clinical_repeat = Repeat(levels, length, channels)
        else:
            self.clinical_expand = _expansion(setup, era)
        self.fuse_convs = build_fusion(setup, levels, channels)

    def forward(
        self,
        images: Tensor,
        targets: list[TargetDict] | None = None,
        numeric: Tensor | None = None,
        categorical: Tensor | None = None,
        mode: RoiMode = CLEAN,
    ) -> DetectorOutput:
        """Detect findings; with targets also compute the losses, in training and in evaluation.

        Args:
            images: (B, 1 or 3, S, S), grey values 0 to 255 of any number type.
            targets: per image ``boxes`` (n, 4) in pixels, ``labels`` (n,) from 1 and, for a mask head, perhaps
                ``masks`` (n, S, S), which else are the filled boxes; or None, in evaluation alone. They may lie on
                the CPU, where they are checked without waiting for the images' device.
            numeric: (B, n) clinical numbers, then their missing-value indicators if the setup has them; needed
                with ``use_clinical``.
            categorical: (B, k) codes, -1 for unknown; needed with ``use_clinical``.
            mode: which boxes the RoI heads read; the detections of CLEAN never depend on the targets.

        Raises:
            ValueError: images or targets of another shape or type, boxes that are not finite or without an area, a
                label that is none of the findings', naming the image; no targets in training; no clinical values
                for a detector that reads them.
        """
        _check_images(images)
        if targets is not None:
            _check_targets(targets, images, self.labels)
            targets = [
                {name: values.to(images.device, non_blocking=True) for name, values in target.items()}
                for target in targets
            ]
        elif self.training:
            raise ValueError("Expected targets for every image in training mode, got None")
        features, clinical, prior = self.read(images, numeric, categorical)
        side = images.shape[-1]
        maps = PooledMaps.of(features, side)
        proposals, rpn_losses = self.rpn(side, features, maps, targets)
        roi_clinical = clinical if self.adds_clinical_to_roi_heads else None
        detections, roi_losses = self.roi_heads(maps, proposals, targets, roi_clinical, mode, prior)
        return DetectorOutput({**roi_losses, **rpn_losses}, detections)

    def warning(self) -> str | None:
        """What a user should know of this network before trusting it; else None.

        A fused map of 1×1, and BatchNorm that takes its running statistics in a batch of one image.
        """
        return network_warnings(self.setup, self._sides())

    def _sides(self) -> tuple[int, ...]:
        return tuple(-(-self.setup.image_size // stride) for stride in self.backbone.strides)

    def feature_maps(
        self, images: Tensor, numeric: Tensor | None = None, categorical: Tensor | None = None
    ) -> OrderedDict[str, Tensor]:
        """The maps the RPN and the RoI heads read, (B, C, h, w) per level; arguments as in ``forward``."""
        return self.read(images, numeric, categorical)[0]

    def read(
        self, images: Tensor, numeric: Tensor | None = None, categorical: Tensor | None = None
    ) -> tuple[OrderedDict[str, Tensor], Tensor | None, Tensor | None]:
        """What the heads begin with; arguments as in ``forward``.

        Returns:
            The fused maps; the clinical vector (B, K), or tokens, or None; and what the clinical values alone say of
            the findings, (B, labels) logits, where the fusion says something.
        """
        clinical = self._encode_clinical(numeric, categorical)
        maps = self._fuse(self.backbone(self.transform(images)), clinical)
        fusion = getattr(self, "clinical_fusion", None)
        if clinical is None or not isinstance(fusion, ClassPrior):
            return maps, clinical, None
        return maps, clinical, fusion.prior(clinical)

    def transform(self, images: Tensor) -> Tensor:
        """Grey pixels to three channels with ImageNet's mean and deviation, (B, 3, S, S)."""
        return (images.to(self.mean.dtype) - self.mean) / self.deviation

    def _fuse(self, maps: OrderedDict[str, Tensor], clinical: Tensor | None) -> OrderedDict[str, Tensor]:
        """The image's maps joined with the clinical values."""
        if clinical is not None and hasattr(self, "clinical_fusion"):
            joined: OrderedDict[str, Tensor] = self.clinical_fusion(maps, clinical)
            return joined
        if not self.spatialises or clinical is None:
            return maps
        if self.repeats_vector:
            clinical_maps = self.clinical_repeat(clinical, maps)
        else:
            clinical_maps = self.clinical_convs(self.clinical_expand(clinical[:, :, None, None]))
        fused: OrderedDict[str, Tensor] = self.fuse_convs(maps, clinical_maps)
        return fused

    def _encode_clinical(self, numeric: Tensor | None, categorical: Tensor | None) -> Tensor | None:
        if not hasattr(self, "clinical_vector"):
            return None
        if numeric is None or categorical is None:
            raise ValueError("a detector with use_clinical needs numeric and categorical values")
        vector: Tensor = self.clinical_vector(numeric, categorical)
        return self.clinical_mix(vector) if hasattr(self, "clinical_mix") else vector


def _expansion(setup: ModelSetup, era: Era) -> nn.Sequential:
    """The expansion of ``era`` from the clinical vector to the image's size."""
    length, size = setup.clinical_input_channels, setup.image_size
    if era == "A":
        width, dropout = setup.clinical_conv_channels, setup.clinical_expand_dropout_rate
        last_relu = setup.clinical_last_relu and not setup.using_fpn
        return expansion(size, length, width, width, dropout, last_relu=last_relu)
    if era == "B":
        width = setup.clinical_conv_channels
        return expansion(size, length, width, CLINICAL_IMAGE, 0.0, last_relu=False, narrows="up")
    width = setup.clinical_expand_conv_channels or setup.clinical_conv_channels
    return expansion(size, length, width, CLINICAL_IMAGE, 0.0, last_relu=False)


def _check_images(images: Tensor) -> None:
    shape = list(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3]:
        raise ValueError(f"Expected images to be a tensor of shape [B, 1 or 3, S, S], got {shape}")


def _check_targets(targets: list[TargetDict], images: Tensor, findings: int) -> None:
    """Refuse targets of another form, then boxes and labels that nothing can be learned of.

    The values of all images are read at once: targets on another device than the CPU cost one wait.
    """
    if len(targets) != len(images):
        raise ValueError(f"Expected targets for each of {len(images)} images, got {len(targets)}")
    for i, target in enumerate(targets):
        for name in ("boxes", "labels"):
            if not isinstance(target.get(name), Tensor):
                raise ValueError(
                    f'Expected targets[{i}]["{name}"] to be a tensor, got {type(target.get(name)).__name__}'
                )
        boxes, labels, masks = target["boxes"], target["labels"], target.get("masks")
        if boxes.dim() != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
            raise ValueError(
                f'Expected targets[{i}]["boxes"] to be a float tensor of shape [N, 4], got {_described(boxes)}'
            )
        n = len(boxes)
        if labels.shape != (n,) or labels.dtype != torch.int64:
            raise ValueError(
                f'Expected targets[{i}]["labels"] to be an int64 tensor of shape [{n}], got {_described(labels)}'
            )
        if masks is not None and masks.shape != (n, *images.shape[-2:]):
            expected = [n, *images.shape[-2:]]
            raise ValueError(
                f'Expected targets[{i}]["masks"] to be a tensor of shape {expected}, got {_described(masks)}'
            )

    boxes, labels = (torch.cat([target[name] for target in targets]) for name in ("boxes", "labels"))
    whole = boxes.isfinite().all(dim=1) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    sound = whole & (labels >= 1) & (labels <= findings)
    if sound.all():
        return
    row = int((~sound).nonzero()[0])
    image, place = [(i, n) for i, target in enumerate(targets) for n in range(len(target["labels"]))][row]
    if whole[row]:
        said = f'["labels"][{place}] to be a finding, 1 to {findings}, got {int(labels[row])}'
    else:
        said = f'["boxes"][{place}] to be finite with x1 < x2 and y1 < y2, got {boxes[row].tolist()}'
    raise ValueError(f"Expected targets[{image}]{said}")


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
