"""Image networks: from normalised pixels to the map (or maps) the heads read.

``custom1`` … ``custom3`` are ResNet18 cut after layer 1 … 3. Every network without FPN ends in a 3×3
convolution to ``backbone_out_channels``, as in the documented log.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision import models

from mmad.base.errors import SpecError
from mmad.spec.setup import ModelSetup

#: How many of ResNet18's four stages a cut keeps.
RESNET18_STAGES = {"custom": 1, "custom1": 1, "custom2": 2, "custom3": 3, "resnet18": 4}


class ImageNetwork(nn.Module):
    """A convolutional body and a 3×3 convolution to the width the heads read.

    Args:
        body: maps ``(B, 3, S, S)`` to ``(B, width, S/stride, S/stride)``.
        width: channels of the body's last map.
        stride: pixels of the image per cell of the map.
        out_channels: channels of the map handed on.
    """

    def __init__(self, body: nn.Module, width: int, stride: int, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.reduce = nn.Conv2d(width, out_channels, kernel_size=3, padding=1)
        self.stride = stride
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Maps ``(B, 3, S, S)`` to ``{"0": (B, out_channels, S/stride, S/stride)}``."""
        return OrderedDict([("0", self.reduce(self.body(images)))])


def build_image_network(setup: ModelSetup) -> ImageNetwork:
    """The image network of ``setup`` with torchvision's initial layout and no weights loaded.

    Raises:
        SpecError: for a backbone that is not built here.
    """
    if setup.backbone == "mobilenet_v3":
        body, width, stride = models.mobilenet_v3_small(weights=None).features, 576, 32
    elif setup.backbone in RESNET18_STAGES:
        stages = RESNET18_STAGES[setup.backbone]
        body, width, stride = _resnet18_body(stages), 32 * 2**stages, 2 * 2**stages
    else:
        known = ", ".join(("mobilenet_v3", *RESNET18_STAGES))
        raise SpecError(f"backbone = {setup.backbone!r} is not built yet", mend=f"choose one of {known}")
    if setup.norm_momentum is not None:
        set_norm_momentum(body, setup.norm_momentum)
    return ImageNetwork(body, width, stride, setup.backbone_out_channels)


def _resnet18_body(stages: int) -> nn.Sequential:
    resnet = models.resnet18(weights=None)
    stem = [("conv1", resnet.conv1), ("bn1", resnet.bn1), ("relu", resnet.relu), ("maxpool", resnet.maxpool)]
    layers = [(f"layer{i}", getattr(resnet, f"layer{i}")) for i in range(1, stages + 1)]
    return nn.Sequential(OrderedDict(stem + layers))


def set_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set the momentum of the running statistics of every BatchNorm in ``network``."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def load_body(network: ImageNetwork, state: dict[str, Tensor], setup: ModelSetup) -> None:
    """Copy a torchvision classifier's ``state`` into the network's body; its classifier is left out.

    Raises:
        SpecError: names what is missing or of another shape.
    """
    prefix = "features." if setup.backbone.startswith("mobilenet") else ""
    own = network.body.state_dict()
    taken = {name: state[prefix + name] for name in own if prefix + name in state}
    missing = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    unequal = [name for name, value in taken.items() if value.shape != own[name].shape]
    if missing or unequal:
        raise SpecError(
            f"the weights do not fit backbone {setup.backbone}: missing {missing[:3]}, other shape {unequal[:3]}",
            mend="use the file named by `mmad weights`",
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
