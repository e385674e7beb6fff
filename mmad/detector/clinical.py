"""The clinical branch: a vector of numbers and categories becomes a map that joins the image's.

Era A expands the vector to the image's size, encodes it back to the map's size with stride-2
convolutions and fuses the two maps. Era C expands it to a three-channel clinical image, reads that
with a second image network and adds the maps.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mmad.base.errors import SpecError
from mmad.base.records import ClinicalColumns
from mmad.spec.setup import ModelSetup


class ClinicalVector(nn.Module):
    """Numbers as they are and an embedding per category, joined to ``length`` values.

    The embeddings share what the numbers leave free; an unknown category (-1) is a zero vector. What no
    column fills is zero.
    """

    def __init__(self, columns: ClinicalColumns, length: int) -> None:
        super().__init__()
        free = length - len(columns.numeric)
        kinds = len(columns.categorical)
        if free < kinds:
            raise SpecError(
                f"clinical_input_channels = {length} is too small for {len(columns.numeric)} numbers "
                f"and {kinds} categorical columns",
                mend=f"use at least {len(columns.numeric) + kinds}",
            )
        widths = [free // kinds + (1 if i < free % kinds else 0) for i in range(kinds)]
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(values), width) for (_, values), width in zip(columns.categorical, widths, strict=True)
        )
        self.numbers = len(columns.numeric)
        self.length = length

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Join ``numeric`` (B, n) and ``categorical`` (B, k; -1 unknown) to (B, length)."""
        parts = [numeric]
        for index, embedding in enumerate(self.embeddings):
            codes = categorical[:, index]
            known = (codes >= 0).unsqueeze(1)
            parts.append(embedding(codes.clamp(min=0)) * known)
        vector = torch.cat(parts, dim=1)
        return nn.functional.pad(vector, (0, self.length - vector.shape[1]))


def _block(conv: nn.Module, channels: int, *, relu: bool, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(channels)]
    if relu:
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers


def expansion(
    image_size: int, in_channels: int, channels: int, out_channels: int, dropout: float, *, last_relu: bool
) -> nn.Sequential:
    """Stages that double a (B, in_channels, 1, 1) map until it is (B, out_channels, S, S).

    A stage is a 2×2 transposed convolution of stride 2 and a 3×3 convolution, each with BatchNorm and ReLU.
    """
    stages = image_size.bit_length() - 1
    layers: list[nn.Module] = []
    for stage in range(stages):
        last = stage == stages - 1
        up = nn.ConvTranspose2d(in_channels if stage == 0 else channels, channels, kernel_size=2, stride=2)
        width = out_channels if last else channels
        smooth = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        layers += _block(up, channels, relu=True, dropout=dropout)
        layers += _block(smooth, width, relu=last_relu or not last, dropout=dropout)
    return nn.Sequential(*layers)


def encoder(stride: int, in_channels: int, channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    """3×3 convolutions of stride 2 that bring an S×S map to S/stride, the last one to ``out_channels``."""
    depth = stride.bit_length() - 1
    layers: list[nn.Module] = []
    for step in range(depth):
        width = out_channels if step == depth - 1 else channels
        conv = nn.Conv2d(in_channels if step == 0 else channels, width, kernel_size=3, stride=2, padding=1)
        layers += _block(conv, width, relu=True, dropout=dropout)
    return nn.Sequential(*layers)


def fuse_convs(
    depth: int, in_channels: int, channels: int, out_channels: int, stride: int, dropout: float
) -> nn.Sequential:
    """``depth`` 3×3 convolutions from the joined map to ``out_channels``; empty for depth 0."""
    layers: list[nn.Module] = []
    for step in range(depth):
        width = out_channels if step == depth - 1 else channels
        conv = nn.Conv2d(in_channels if step == 0 else channels, width, kernel_size=3, stride=stride, padding=1)
        layers += _block(conv, width, relu=True, dropout=dropout)
    return nn.Sequential(*layers)


class Fusion(nn.Module):
    """Join image maps with clinical maps level by level: concat or add, convolve, add the image back."""

    def __init__(self, convs: nn.Sequential, strategy: str, *, residual: bool) -> None:
        super().__init__()
        self.convs = convs
        self.concat = strategy == "concat"
        self.residual = residual

    def forward(self, image: OrderedDict[str, Tensor], clinical: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Maps of equal names and sizes (B, C, h, w) give one fused map per name."""
        return OrderedDict((name, self._join(image[name], clinical[name])) for name in image)

    def _join(self, image: Tensor, clinical: Tensor) -> Tensor:
        joined = torch.cat((image, clinical), dim=1) if self.concat else image + clinical
        fused: Tensor = self.convs(joined)
        return fused + image if self.residual else fused


def fused_side(setup: ModelSetup, stride: int) -> int:
    """Side of the map the heads read, in cells: ``fuse_stride`` 2 halves it with every fuse convolution."""
    side = setup.image_size // stride
    if setup.use_clinical and setup.resolved_era == "A":
        for _ in range(setup.fuse_depth):
            side = -(-side // setup.fuse_stride)
    return side
