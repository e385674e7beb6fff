"""The clinical branch: a vector of numbers and categories becomes maps that join the image's.

Era A expands the vector to the image's size, encodes it back to the sizes of the image's maps with
stride-2 convolutions and fuses the maps. Eras B and C make a three-channel clinical image of it, read
that with a second image network and join the maps; era C can also repeat the vector at every cell.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmad.base.records import ClinicalColumns
from mmad.config.setup import ModelSetup
from mmad.config.setup_checks import number_count, require_room

CLINICAL_IMAGE = 3  # channels of a clinical image, as the second image network reads them


class ClinicalEncoding(Protocol):
    """A ``torch.nn.Module`` that is made with the columns and what a setup says of them, and arguments of its own.

    It keeps ``columns`` in their order: numbers, then categories.
    """

    def __init__(self, columns: ClinicalColumns, length: int, *, indicators: bool, unknown_slot: bool) -> None: ...

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """One vector a patient, (B, length), or tokens (B, T, length) where the fusion reads such.

        Args:
            numeric: (B, n) numbers; with ``indicators`` (B, 2 n): then 1 where each is missing, else 0.
            categorical: (B, k) codes, -1 for unknown.
        """


class ClinicalVector(nn.Module):
    """Numbers as they are and an embedding per category, joined to ``length`` values.

    The embeddings share what the numbers leave free; an unknown category (-1) is a zero vector. What no
    column fills is zero.

    Args:
        columns: the clinical columns.
        length: of the vector.
        indicators: whether there is a second number per numeric column that says if its value is missing.
        unknown_slot: whether an unknown category has an embedding of its own, the last, in place of zeros.

    Raises:
        SpecError: when ``length`` has no room for the columns.
    """

    def __init__(
        self, columns: ClinicalColumns, length: int, *, indicators: bool = False, unknown_slot: bool = False
    ) -> None:
        super().__init__()
        require_room(columns, length, indicators=indicators)
        self.numbers = number_count(columns, indicators=indicators)
        self.unknown_slot = unknown_slot
        free = length - self.numbers
        kinds = len(columns.categorical)
        widths = [free // kinds + (1 if i < free % kinds else 0) for i in range(kinds)]
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(values) + unknown_slot, width)
            for (_, values), width in zip(columns.categorical, widths, strict=True)
        )
        self.kinds = [len(values) for _, values in columns.categorical]  # the number of the unknown slot, too
        self.length = length

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Join ``numeric`` (B, n) and ``categorical`` (B, k; -1 unknown) to (B, length)."""
        parts = [numeric]
        for index, embedding in enumerate(self.embeddings):
            codes = categorical[:, index]
            known = codes >= 0
            if self.unknown_slot:
                parts.append(embedding(torch.where(known, codes, self.kinds[index])))
            else:
                parts.append(embedding(codes.clamp(min=0)) * known.unsqueeze(1))
        vector = torch.cat(parts, dim=1)
        return nn.functional.pad(vector, (0, self.length - vector.shape[1]))


class ClinicalTokens(nn.Module):
    """A token per column: b + x · w of a number x, b + e of a category's embedding e, b + m where the value is missing.

    b and w are of the column's own, m is one learned token for every missing value.

    The tokens: Gorishniy, Rubachev, Khrulkov and Babenko: Revisiting deep learning models for tabular data, NeurIPS
    2021; the token of missing values: Du et al.: TIP, ECCV 2024.

    Args:
        columns: the clinical columns.
        length: of a token.
        indicators: has to be true: which number is missing must be known.
        unknown_slot: without effect, for every missing value has a token.
    """

    def __init__(
        self, columns: ClinicalColumns, length: int, *, indicators: bool = True, unknown_slot: bool = False
    ) -> None:
        super().__init__()
        if not indicators:
            raise ValueError("tokens need the missing-value indicators")
        self.numbers = len(columns.numeric)
        self.weight = nn.Parameter(torch.empty(self.numbers, length))
        self.bias = nn.Parameter(torch.empty(self.numbers + len(columns.categorical), length))
        self.missing = nn.Parameter(torch.empty(length))
        self.embeddings = nn.ModuleList(nn.Embedding(len(values), length) for _, values in columns.categorical)
        bound = length**-0.5
        for parameter in (self.weight, self.bias, *self.embeddings.parameters()):
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.trunc_normal_(self.missing, std=0.02)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """``numeric`` (B, 2 n) with indicators and ``categorical`` (B, k; -1 unknown) to (B, n + k, length)."""
        values, missing = numeric[:, : self.numbers, None], numeric[:, self.numbers :, None] > 0.5
        tokens = [torch.where(missing, self.missing, values * self.weight)]
        for index, embedding in enumerate(self.embeddings):
            codes = categorical[:, index, None]
            tokens.append(torch.where(codes[:, :, None] < 0, self.missing, embedding(codes.clamp(min=0))))
        return torch.cat(tokens, dim=1) + self.bias


class _RunningForOne(nn.modules.batchnorm._BatchNorm):
    """BatchNorm that takes its running statistics where a batch holds one value per channel, which has no variance."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, h, w), or vectors (B, C)."""
        if self.training and maps.numel() == maps.shape[1]:
            assert self.running_mean is not None
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(maps)


class BatchNorm(_RunningForOne, nn.BatchNorm2d):
    """Of maps (B, C, h, w)."""


class VectorNorm(_RunningForOne, nn.BatchNorm1d):
    """Of vectors (B, C)."""


def vector_layers(length: int, stages: int) -> nn.Sequential:
    """``stages`` of linear layer, BatchNorm and LeakyReLU, and a linear layer: (B, length) to (B, length)."""
    layers: list[nn.Module] = []
    for _ in range(stages):
        layers += [nn.Linear(length, length), VectorNorm(length), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(length, length))


class Repeat(nn.Module):
    """Brings a vector to the width of each of the image's maps with a linear layer, and repeats it at every cell.

    Args:
        levels: the maps' names.
        length: of the vector; channels: of the maps.
    """

    def __init__(self, levels: tuple[str, ...], length: int, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleDict({name: nn.Linear(length, channels) for name in levels})

    def forward(self, vector: Tensor, maps: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """(B, length) to one map per level, (B, channels, h, w) as large as the image's."""
        return OrderedDict(
            (name, self.levels[name](vector)[:, :, None, None].expand(-1, -1, *image.shape[-2:]))
            for name, image in maps.items()
        )


def block(conv: nn.Module, channels: int, *, relu: bool, dropout: float) -> list[nn.Module]:
    """A convolution with BatchNorm and, if wanted, ReLU and the dropout of whole channels that follows it."""
    layers: list[nn.Module] = [conv, BatchNorm(channels)]
    if relu:
        layers.append(nn.ReLU(inplace=True))  # what BatchNorm gives is needed by nothing else
        if dropout:
            layers.append(nn.Dropout2d(dropout))
    return layers


def expansion(
    image_size: int,
    in_channels: int,
    channels: int,
    out_channels: int,
    dropout: float,
    *,
    last_relu: bool,
    narrows: Literal["smooth", "up"] = "smooth",
) -> nn.Sequential:
    """Stages that double a (B, in_channels, 1, 1) map until it is (B, out_channels, S, S).

    A stage is a 2×2 transposed convolution of stride 2 and a 3×3 convolution, each with BatchNorm and ReLU.

    Args:
        image_size: S, a power of two.
        in_channels: length of the vector; channels: width of the stages.
        out_channels: width of the last map.
        dropout: after every ReLU.
        last_relu: whether the last convolution has ReLU and dropout too.
        narrows: which convolution of the last stage goes to ``out_channels``: the 3×3 one, or already the transposed.
    """
    stages = image_size.bit_length() - 1
    layers: list[nn.Module] = []
    for stage in range(stages):
        last = stage == stages - 1
        width = out_channels if last and narrows == "up" else channels
        wide = out_channels if last else channels
        up = nn.ConvTranspose2d(in_channels if stage == 0 else channels, width, kernel_size=2, stride=2)
        smooth = nn.Conv2d(width, wide, kernel_size=3, padding=1)
        layers += block(up, width, relu=True, dropout=dropout)
        layers += block(smooth, wide, relu=last_relu or not last, dropout=dropout)
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Era A's way from the S×S clinical map to the image's maps: 3×3 convolutions of stride 2.

    One map takes as many as its stride needs; of a pyramid the first level takes two and every further
    level one more from the level before it, without ReLU on the pooled level.

    Args:
        strides: pixels of the image per cell, map by map.
        levels: the maps' names.
        in_channels: of the expanded map; channels: within; out_channels: of the maps.
        dropout: after every ReLU.
        last_relu: whether one map's last convolution has ReLU and dropout too.
    """

    def __init__(
        self,
        strides: tuple[int, ...],
        levels: tuple[str, ...],
        in_channels: int,
        channels: int,
        out_channels: int,
        dropout: float,
        *,
        last_relu: bool,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleDict()
        width, stride = in_channels, 1
        for name, wanted in zip(levels, strides, strict=True):
            layers: list[nn.Module] = []
            while stride < wanted:
                stride *= 2
                out = out_channels if stride == wanted else channels
                conv = nn.Conv2d(width, out, kernel_size=3, stride=2, padding=1)
                bare = name == "pool" or (len(levels) == 1 and stride == wanted and not last_relu)
                layers += block(conv, out, relu=not bare, dropout=dropout)
                width = out
            self.levels[name] = nn.Sequential(*layers)

    def forward(self, expanded: Tensor) -> OrderedDict[str, Tensor]:
        """(B, K, S, S) to one map per level."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for name, convs in self.levels.items():
            expanded = convs(expanded)
            maps[name] = expanded
        return maps


# Where the image's maps and the clinical maps join.


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
