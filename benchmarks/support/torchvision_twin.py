"""torchvision's own detector over the modules of one of ours: what agreement and speed are measured against."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from mmad.detector.model import IMAGENET_DEVIATION, IMAGENET_MEAN, MultimodalRCNN


class _Backbone(nn.Module):
    """The image network and the clinical branch, module after module, in the form torchvision expects."""

    def __init__(self, model: MultimodalRCNN) -> None:
        super().__init__()
        self.image = model.backbone
        self.out_channels = model.backbone.out_channels
        self.spatialises = model.spatialises
        if model.spatialises:
            self.expand, self.convs, self.fuse = model.clinical_expand, model.clinical_convs, model.fuse_convs
        self.vector: Tensor | None = None

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.image(images)
        if self.spatialises and self.vector is not None:
            maps = self.fuse(maps, self.convs(self.expand(self.vector[:, :, None, None])))
        return maps


class _Pool(MultiScaleRoIAlign):
    """torchvision's pooling, which remembers how many boxes each image had."""

    counts: tuple[int, ...] = ()

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        self.counts = tuple(len(b) for b in boxes)
        return super().forward(x, boxes, image_shapes)


class _Head(nn.Module):
    def __init__(self, model: MultimodalRCNN, pool: _Pool) -> None:
        super().__init__()
        self.head = model.roi_heads.box_head
        self.pool = [pool]  # in a list: not a module of this one
        self.vector: Tensor | None = None

    def forward(self, pooled: Tensor) -> Tensor:
        if self.vector is None:
            return self.head(pooled, None)
        beside = self.vector.repeat_interleave(torch.tensor(self.pool[0].counts, device=pooled.device), dim=0)
        return self.head(pooled, beside)


class Twin(nn.Module):
    """torchvision's Faster or Mask R-CNN made of the modules of ``model``, fed with the same clinical values."""

    def __init__(self, model: MultimodalRCNN) -> None:
        super().__init__()
        setup = model.setup
        names = ["0", "1", "2", "3"] if setup.using_fpn else ["0"]
        sizes = tuple((size,) for size in setup.anchor_sizes) if setup.using_fpn else (setup.anchor_sizes,)
        heads = model.roi_heads
        masks = {}
        if setup.use_mask:
            masks = {
                "mask_roi_pool": MultiScaleRoIAlign(names, 14, 2),
                "mask_head": heads.mask_head,
                "mask_predictor": heads.mask_predictor,
            }
        pool = _Pool(names, 7, 2)
        self.detector: FasterRCNN = (MaskRCNN if setup.use_mask else FasterRCNN)(
            _Backbone(model),
            num_classes=None,
            min_size=setup.image_size,
            max_size=setup.image_size,
            image_mean=list(IMAGENET_MEAN),
            image_std=list(IMAGENET_DEVIATION),
            rpn_anchor_generator=AnchorGenerator(sizes, (setup.anchor_ratios,) * len(sizes)),
            rpn_post_nms_top_n_train=setup.rpn_post_nms_top_n_train,
            rpn_post_nms_top_n_test=setup.rpn_post_nms_top_n_test,
            rpn_nms_thresh=setup.rpn_nms_thresh,
            box_roi_pool=pool,
            box_head=_Head(model, pool),
            box_predictor=heads.box_predictor,
            box_score_thresh=setup.box_score_thresh,
            box_nms_thresh=setup.box_nms_thresh,
            box_detections_per_img=setup.box_detections_per_img,
            box_batch_size_per_image=setup.box_batch_size_per_image,
            **masks,
        )
        self.detector.rpn.head = model.rpn.head
        self.detector.transform.torch_choice = lambda sizes: sizes[0]  # else draws a number for its one size
        if hasattr(model, "clinical_vector"):
            self.clinical_vector = model.clinical_vector
        self.adds_clinical_to_roi_heads = model.adds_clinical_to_roi_heads

    def forward(
        self,
        images: list[Tensor],
        targets: list[dict[str, Tensor]] | None = None,
        numeric: Tensor | None = None,
        categorical: Tensor | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        if hasattr(self, "clinical_vector"):
            vector = self.clinical_vector(numeric, categorical)
            self.detector.backbone.vector = vector
            self.detector.roi_heads.box_head.vector = vector if self.adds_clinical_to_roi_heads else None
        return self.detector(images, targets)


def plain(images: Tensor) -> list[Tensor]:
    """Grey values 0 to 255 (B, 1, S, S) as torchvision reads images: three channels between 0 and 1."""
    return [image.expand(3, -1, -1) / 255 for image in images]
