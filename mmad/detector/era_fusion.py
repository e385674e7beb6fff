"""Where the image's maps and the clinical maps join."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mmad.config.setup import ModelSetup
from mmad.detector.clinical import block


class EraFusion(nn.Module):
    """Join image maps with clinical maps level by level: concat or add, convolve, add both back.

    Args:
        convs: per level what follows the join; empty for levels that are only added.
        concat: join by channels; else add.
        residual: add the image's map and the clinical one to the result, which is repeated over them where it has
            one cell.
    """

    def __init__(self, convs: dict[str, nn.Sequential], *, concat: bool, residual: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(convs)
        self.concat = concat
        self.residual = residual

    def forward(self, image: OrderedDict[str, Tensor], clinical: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Maps of equal names and sizes (B, C, h, w) give one fused map per name."""
        return OrderedDict((name, self._join(name, image[name], clinical[name])) for name in image)

    def _join(self, name: str, image: Tensor, clinical: Tensor) -> Tensor:
        joined = torch.cat((image, clinical), dim=1) if self.concat else image + clinical
        if name not in self.convs:
            return joined
        fused: Tensor = self.convs[name](joined)
        return fused + image + clinical if self.residual else fused


def build_fusion(setup: ModelSetup, levels: tuple[str, ...], channels: int) -> EraFusion:
    """The fusion of ``setup`` over ``levels``, the image's and the clinical maps each of ``channels``.

    Era A without FPN has ``fuse_depth`` 3×3 convolutions of width ``clinical_conv_channels``, with FPN one per
    level and no activation; era B adds; era C has ``fuse_depth`` per level of width ``fuse_conv_channels`` (the
    original took ``clinical_conv_channels`` there; no setup of the log tells the two apart).
    """
    depth = setup.fuse_layers
    if depth == 0:
        return EraFusion({}, concat=False, residual=False)
    era_a = setup.resolved_era == "A"
    concat = setup.fusion_strategy == "concat"
    convs = {
        level: _convs(
            depth,
            2 * channels if concat else channels,
            setup.clinical_conv_channels if era_a else setup.fuse_conv_channels,
            channels,
            setup.fuse_stride,
            setup.fuse_dropout_rate,
            relu=not (era_a and setup.using_fpn),
        )
        for level in levels
    }
    return EraFusion(convs, concat=concat, residual=setup.fusion_residule)


def _convs(
    depth: int, in_channels: int, channels: int, out_channels: int, stride: int, dropout: float, *, relu: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in range(depth):
        width = out_channels if step == depth - 1 else channels
        conv = nn.Conv2d(in_channels if step == 0 else channels, width, kernel_size=3, stride=stride, padding=1)
        layers += block(conv, width, relu=relu, dropout=dropout)
    return nn.Sequential(*layers)
