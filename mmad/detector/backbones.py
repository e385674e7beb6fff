"""Image networks: from normalised pixels to the map (or the pyramid of maps) the heads read.

``custom1`` … ``custom3`` are ResNet18 cut after layer 1 … 3. Every network without FPN ends in a 3×3
convolution to ``backbone_out_channels``, as in the documented log; a feature pyramid (Lin et al.,
arXiv:1612.03144) has 256 channels on every level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d

from mmad.base.errors import SpecError
from mmad.config.named_parts import STRIDES, TIMM, is_own
from mmad.config.setup import PYRAMID_CHANNELS, PYRAMID_STRIDES, ModelSetup
from mmad.detector.clinical import BatchNorm
from mmad.detector.parts import make_part
from mmad.detector.timm_body import TimmBody
from mmad.detector.undrawn import Undrawn

#: How many of ResNet18's four stages a cut keeps.
RESNET18_STAGES = {"custom": 1, "custom1": 1, "custom2": 2, "custom3": 3, "resnet18": 4}
RESNET_PARTS = ("layer4", "layer3", "layer2", "layer1", "conv1")  # from the last to the first
SWIN_STAGES = ("1", "3", "5", "7")
_MOBILENET_V3_NORM = partial(BatchNorm, eps=0.001, momentum=0.01)  # torchvision's numbers


class Body(Protocol):
    """A ``torch.nn.Module`` from normalised pixels to maps, made with what the setup asks for and its own arguments.

    Attributes:
        widths: channels of its map, or of its four with a pyramid.
        strides: pixels of the image per cell, likewise; 4, 8, 16 and 32 with a pyramid.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, *, pyramid: bool, image_size: int) -> None: ...

    def forward(self, images: Tensor) -> Tensor | OrderedDict[str, Tensor]:
        """(B, 3, S, S) to one map (B, C, h, w), or with a pyramid to four, named "0" to "3", the largest first."""


class ImageNetwork(nn.Module):
    """A body and what brings its maps to the width the heads read.

    Args:
        body: maps ``(B, 3, S, S)`` to one map, or to a dictionary of four for a pyramid.
        widths: channels of the body's map, or of the four.
        strides: pixels of the image per cell, for every map handed on.
        out_channels: channels of the maps handed on.
    """

    def __init__(self, body: nn.Module, widths: tuple[int, ...], strides: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.strides = strides
        self.out_channels = out_channels
        if len(strides) > 1:
            self.fpn = FeaturePyramidNetwork(list(widths), out_channels, extra_blocks=LastLevelMaxPool())
        else:
            self.reduce = nn.Conv2d(widths[0], out_channels, kernel_size=3, padding=1)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the maps handed on, as torchvision names them."""
        return ("0",) if len(self.strides) == 1 else ("0", "1", "2", "3", "pool")

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Maps ``(B, 3, S, S)`` to ``{level: (B, out_channels, S/stride, S/stride)}``."""
        if len(self.strides) == 1:
            return OrderedDict([("0", self.reduce(self.body(images)))])
        maps: OrderedDict[str, Tensor] = self.fpn(self.body(images))
        return maps


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]
    """A BatchNorm that does not train, in the type of its maps: in half precision theirs stay half as large."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        bias = self.bias - self.running_mean * scale
        moved: Tensor = maps * scale.to(maps.dtype).view(1, -1, 1, 1) + bias.to(maps.dtype).view(1, -1, 1, 1)
        return moved


class SwinBody(nn.Module):
    """torchvision's Swin-T (Liu et al., arXiv:2103.14030): the last map, or all four, as (B, C, h, w)."""

    def __init__(self, *, pyramid: bool) -> None:
        super().__init__()
        self.features = models.swin_t(weights=None).features
        self.pyramid = pyramid

    def fresh(self) -> SwinBody:
        """Another of the same, drawn anew."""
        return SwinBody(pyramid=self.pyramid)

    def forward(self, images: Tensor) -> Tensor | OrderedDict[str, Tensor]:
        """(B, 3, S, S) to (B, 768, S/32, S/32), or to maps of 96, 192, 384 and 768 channels."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for name, stage in self.features.named_children():
            images = stage(images)
            if name in SWIN_STAGES:
                maps[str(len(maps))] = images.permute(0, 3, 1, 2).contiguous()
        return maps if self.pyramid else maps["3"]


def build_image_network(setup: ModelSetup) -> ImageNetwork:
    """The image network of ``setup`` with its library's initial layout and no weights loaded.

    Raises:
        SpecError: for a timm backbone that is not there or has no maps of the sizes needed.
    """
    if setup.image_backbone.startswith(TIMM):
        name = setup.image_backbone.removeprefix(TIMM)
        with Undrawn():  # type: ignore[no-untyped-call]
            timm_body = TimmBody(name, setup.image_size, pyramid=setup.using_fpn)
        body: nn.Module = timm_body
        widths, strides = timm_body.widths, timm_body.strides
    elif is_own(setup.backbone):
        own = own_body(setup)
        body, widths, strides = own, tuple(own.widths), tuple(own.strides)
    else:
        with Undrawn():  # type: ignore[no-untyped-call]
            body, widths = _pyramid_body(setup) if setup.using_fpn else _body(setup.image_backbone)
        strides = PYRAMID_STRIDES if setup.using_fpn else (STRIDES[setup.image_backbone],)
    if setup.norm_momentum is not None:
        set_norm_momentum(body, setup.norm_momentum)
    with Undrawn():  # type: ignore[no-untyped-call]
        if setup.using_fpn:
            return ImageNetwork(body, widths, PYRAMID_STRIDES, PYRAMID_CHANNELS)
        return ImageNetwork(body, widths, strides, setup.backbone_out_channels)


def own_body(setup: ModelSetup) -> Any:
    """The ``Body`` of a module of the user's own."""
    return make_part("backbone", setup.backbone, pyramid=setup.using_fpn, image_size=setup.image_size)


def _body(backbone: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A body of one map, and its width."""
    if backbone == "mobilenet_v3":
        return models.mobilenet_v3_small(weights=None, norm_layer=_MOBILENET_V3_NORM).features, (576,)
    if backbone == "mobilenet_v2":
        return models.mobilenet_v2(weights=None, norm_layer=BatchNorm).features, (1280,)
    if backbone == "swin_t":
        return SwinBody(pyramid=False), (768,)
    if backbone == "resnet50":
        return _resnet(models.resnet50, stages=4), (2048,)
    if backbone in RESNET18_STAGES:
        stages = RESNET18_STAGES[backbone]
        return _resnet(models.resnet18, stages=stages), (32 * 2**stages,)
    raise SpecError(f"backbone = {backbone!r} is not known", hint="choose another backbone")


def _resnet(build: Callable[..., nn.Module], stages: int) -> nn.Sequential:
    resnet = build(weights=None, norm_layer=BatchNorm)
    names = ["conv1", "bn1", "relu", "maxpool", *(f"layer{i}" for i in range(1, stages + 1))]
    return nn.Sequential(OrderedDict((name, getattr(resnet, name)) for name in names))


def _pyramid_body(setup: ModelSetup) -> tuple[nn.Module, tuple[int, ...]]:
    """A body of four maps, and their widths."""
    if setup.image_backbone == "swin_t":
        return SwinBody(pyramid=True), (96, 192, 384, 768)
    norm = FrozenNorm if setup.frozen_norm else BatchNorm
    resnet = getattr(models, setup.image_backbone)(weights=None, norm_layer=norm)
    widths = tuple(resnet.inplanes // 8 * 2**i for i in range(4))
    return IntermediateLayerGetter(resnet, {f"layer{i + 1}": str(i) for i in range(4)}), widths


def set_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Set the momentum of the running statistics of every BatchNorm in ``network``."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def freeze(network: ImageNetwork, setup: ModelSetup, *, pretrained: bool) -> None:
    """Fix the ResNet's first parts below a pyramid: all but the last ``trainable_layers`` do not train.

    As torchvision's detectors: three of the five train when the weights are pretrained, else all.
    """
    if not (setup.using_fpn and setup.image_backbone.startswith("resnet")):
        return
    wanted = setup.trainable_layers
    if wanted is None:
        wanted = 3 if pretrained else len(RESNET_PARTS)
    trained = [*RESNET_PARTS[:wanted], *(["bn1"] if wanted == len(RESNET_PARTS) else [])]
    for name, parameter in network.body.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in trained)


def rescale_residuals(network: ImageNetwork) -> None:
    """Scale the residual branches of a ResNet whose norms are fixed and whose weights are drawn anew.

    Without weights to be true to, fixed norms pass everything on and every block would double the variance;
    scaled by the root of the number of blocks the signal stays in bounds and the network can train.
    """
    blocks = [m for m in network.body.modules() if isinstance(m, models.resnet.BasicBlock | models.resnet.Bottleneck)]
    for block in blocks:
        last = block.bn3 if isinstance(block, models.resnet.Bottleneck) else block.bn2
        if isinstance(last, FrozenNorm):
            last.weight.fill_(len(blocks) ** -0.5)


def load_body(network: ImageNetwork, state: dict[str, Tensor], setup: ModelSetup) -> None:
    """Copy a torchvision classifier's ``state`` into the network's body; its classifier is left out.

    What a training program puts before every name (``module.``, ``encoder.``) is left out too.

    Raises:
        SpecError: names what is missing or of another shape.
    """
    own = network.body.state_dict()
    prefix = _prefix(state, next(iter(own)), "features." if setup.image_backbone.startswith("mobilenet") else "")
    taken = {name: state[prefix + name] for name in own if prefix + name in state}
    missing = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    unequal = [name for name, value in taken.items() if value.shape != own[name].shape]
    if missing or unequal:
        raise SpecError(
            f"the weights do not fit backbone {setup.image_backbone}: missing {missing[:3]}, other shape {unequal[:3]}",
            hint="use the file named by `mmad weights`, or one of torchvision's network",
        )
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)


def _prefix(state: dict[str, Tensor], first: str, usual: str) -> str:
    """What stands before the names of the body in ``state``: ``usual``, or that and more."""
    found = [name.removesuffix(first) for name in state if name.endswith(usual + first)]
    return min(found, key=len, default=usual)
