"""Small detectors and batches that the tests of this room share."""

from __future__ import annotations

import torch
from support.torchvision_twin import Twin
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config.setup import ModelSetup
from mmad.detector.build import build_detector
from mmad.detector.model import MultimodalRCNN

SIDE = 64
#: So many boxes are pooled that a test is of the pooling, not of time.
FEW_BOXES = {"box_batch_size_per_image": 16, "rpn_post_nms_top_n_train": 60, "rpn_post_nms_top_n_test": 60}
CXR = {"backbone": "custom1", "image_size": SIDE, "pretrained": False, "box_score_thresh": 0.0} | FEW_BOXES
FPN = CXR | {"backbone": "resnet18", "using_fpn": True, "anchor_sizes": (8, 16, 32, 48, 64)}
CLINICAL = {"use_clinical": True, "clinical_input_channels": 12, "clinical_conv_channels": 8}
ADD = {"fuse_depth": 0, "fusion_strategy": "add"}
ERA_A = CXR | CLINICAL
ERA_C = CXR | CLINICAL | ADD | {"clinical_expand_conv_channels": 8}
REPEAT = ERA_C | {"spatialise_method": "repeat"}
ARMS: dict[str, dict] = {
    "CXR": CXR,
    "mask": CXR | {"use_mask": True, "mask_hidden_layers": 16},
    "FPN": FPN,
    "FPN mask": FPN | {"use_mask": True, "mask_hidden_layers": 16},
    "era A": ERA_A,
    "era A add residual": ERA_A | {"fusion_strategy": "add", "fusion_residule": True},
    "era A stride 2": ERA_A | {"fuse_stride": 2, "fusion_strategy": "add", "fusion_residule": True},
    "era A no last ReLU": ERA_A | {"clinical_last_relu": False},
    "era A dropouts": ERA_A
    | {"clinical_expand_dropout_rate": 0.1, "clinical_conv_dropout_rate": 0.1, "fuse_dropout_rate": 0.1}
    | {"box_head_dropout_rate": 0.1},
    "era A FPN": FPN | CLINICAL | {"fusion_strategy": "add"},
    "era A FPN stride 2": FPN | CLINICAL | {"fuse_stride": 2},
    "era B": FPN | CLINICAL | ADD,
    "era B one map": CXR | CLINICAL | {"era": "B"},
    "era C": ERA_C,
    "era C heads only": ERA_C | {"spatialise_clinical": False},
    "era C heads alone": ERA_C | {"spatialise_clinical": False, "clinical_idle_network": False},
    "era C map only": ERA_C | {"add_clinical_to_roi_heads": False},
    "era C FPN": FPN | CLINICAL | ADD | {"clinical_expand_conv_channels": 8},
    "era C depth 2": ERA_C | {"fuse_depth": 2, "fusion_strategy": "concat"},
    "era C depth 2 residual": ERA_C | {"fuse_depth": 2, "fusion_residule": True},
    "era C FPN depth 1": FPN | CLINICAL | {"clinical_expand_conv_channels": 8, "fuse_depth": 1},
    "era C mixed": ERA_C | {"pre_spatialised_layer": 2},
    "era C repeat": REPEAT | {"pre_spatialised_layer": 1},
    "era C FPN repeat": FPN | CLINICAL | ADD | {"clinical_expand_conv_channels": 8, "spatialise_method": "repeat"},
    "FiLM": CXR | CLINICAL | {"fusion": "film"},
    "late": CXR | CLINICAL | {"fusion": "late"},
    "era C repeat concat": REPEAT | {"fuse_depth": 1, "fusion_strategy": "concat"},
}


def detector(fields: dict, seed: int = 0) -> MultimodalRCNN:
    return build_detector(ModelSetup(**fields), labels=5, columns=DOCUMENTED_COLUMNS, seed=seed)


def batch(size: int = 4, side: int = SIDE) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    """Noise; images with two boxes, one, none and one as large as the image."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (size, 1, side, side), dtype=torch.uint8, generator=generator)
    boxes = [
        torch.tensor([[8.0, 8.0, 40.0, 50.0], [20.0, 30.0, 60.0, 60.0]]),
        torch.tensor([[5.0, 10.0, 30.0, 30.0]]),
        torch.zeros((0, 4)),
        torch.tensor([[0.0, 0.0, 64.0, 64.0]]),
    ][:size]
    targets = [{"boxes": b * (side / 64), "labels": torch.arange(1, len(b) + 1)} for b in boxes]
    numeric = torch.randn((size, 9), generator=generator)
    return images, targets, numeric, torch.tensor([[0], [1], [-1], [0]])[:size]


class FirstOnes(nn.Module):
    """A sampler without chance, in the form of this package and of torchvision's: the first of each kind."""

    def __init__(self, size: int, positive_fraction: float) -> None:
        super().__init__()
        self.size, self.positives = size, int(size * positive_fraction)

    def forward(self, labels: Tensor | list[Tensor]) -> tuple:
        if isinstance(labels, Tensor):
            positive = (labels > 0) & ((labels > 0).cumsum(1) <= self.positives)
            free = self.size - positive.sum(1, keepdim=True)
            return positive, (labels == 0) & ((labels == 0).cumsum(1) <= free)
        pairs = [self(row[None].float()) for row in labels]
        return [p[0][0] for p in pairs], [p[1][0] for p in pairs]


def without_chance(ours: MultimodalRCNN, theirs: FasterRCNN) -> None:
    """One sampler for both: torchvision draws two permutations per image, this package one number per box."""
    ours.rpn.sampler = theirs.rpn.fg_bg_sampler = FirstOnes(256, 0.5)
    ours.roi_heads.sampler = theirs.roi_heads.fg_bg_sampler = FirstOnes(
        ours.roi_heads.sampler.batch_size_per_image, 0.25
    )
    theirs.transform.torch_choice = lambda sizes: sizes[0]  # draws a random number for its one size otherwise


def torchvision_twin(model: MultimodalRCNN) -> FasterRCNN:
    """torchvision's own Faster or Mask R-CNN over the modules of an image-only ``model``, without chance."""
    twin = Twin(model).detector
    without_chance(model, twin)
    return twin
