"""Published ways to join clinical values with the image's maps, and what a fusion of one's own has to be.

Each works on the maps that the heads read, level by level, and leaves their shape as it is. Where a paper's block
holds more than the fusion itself (convolutions, a residual, a place within the image network), that is left out and
said in the class.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mmad.base.errors import SpecError
from mmad.detector.clinical import BatchNorm, VectorNorm

#: Maps by level, (B, C, h, w) each; without a feature pyramid there is one.
Maps = OrderedDict[str, Tensor]


@dataclass(frozen=True)
class FusionShape:
    """What a fusion joins.

    Attributes:
        levels: names of the image's maps: one, or five of a feature pyramid, the largest first.
        channels: C of every map.
        length: K of the clinical vector, or of each token.
        findings: how many classes there are, the background not counted.
    """

    levels: tuple[str, ...]
    channels: int
    length: int
    findings: int


class Fusion(Protocol):
    """A ``torch.nn.Module`` that is made with the shape of what it joins, and arguments of its own by name."""

    def __init__(self, shape: FusionShape) -> None: ...

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """Join ``maps``, (B, C, h, w) by level, with the clinical values (B, K), or tokens (B, T, K).

        Returns:
            Maps of the same names and shapes.
        """


@runtime_checkable
class ClassPrior(Protocol):
    """What a fusion may have beside ``forward``: it speaks on the classes of all boxes of an image."""

    def prior(self, clinical: Tensor) -> Tensor:
        """(B, K) to logits (B, findings), which are added to those of every box of the image."""


def per_level(shape: FusionShape, build: Callable[[], nn.Module]) -> nn.ModuleDict:
    """A module of its own for every map."""
    return nn.ModuleDict({level: build() for level in shape.levels})


def over_cells(values: Tensor) -> Tensor:
    """One value per channel (B, C) as (B, C, 1, 1), for every cell of a map."""
    return values[:, :, None, None]


class FiLM(nn.Module):
    """Feature-wise linear modulation: γ ⊙ x + β, one γ and β per channel, from one linear layer on the vector.

    γ = 1 + the layer's output, and nothing bounds it, so that the image's maps are hardly changed at the start.
    The convolutions and the residual of the paper's block are left out.

    Perez, Strub, de Vries, Dumoulin and Courville: FiLM: Visual reasoning with a general conditioning layer, AAAI 2018.
    """

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        self.modulation = per_level(shape, lambda: nn.Linear(shape.length, 2 * shape.channels))

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """Scale and shift every channel."""
        return OrderedDict((level, self._modulate(level, x, clinical)) for level, x in maps.items())

    def _modulate(self, level: str, x: Tensor, clinical: Tensor) -> Tensor:
        gamma, beta = self.modulation[level](clinical).chunk(2, dim=1)  # (B, C) each
        return over_cells(1 + gamma) * x + over_cells(beta)


class DAFT(nn.Module):
    """Dynamic affine feature map transform: α ⊙ x + β from the vector and the pooled map together.

    u = [mean of x over its cells, vector]; [α, β] = W2 ReLU(W1 u), no biases, no activation on α, and no "1 +". The
    hidden layer has ⌊(C + K) / bottleneck⌋ values. The paper's place, the last residual block, is left out.

    Wolf, Pölsterl and Wachinger: DAFT: A universal module to interweave tabular data and 3D images in CNNs,
    NeuroImage 2022, doi:10.1016/j.neuroimage.2022.119505.

    Args:
        bottleneck: 7 as in the authors' code.
    """

    def __init__(self, shape: FusionShape, bottleneck: int = 7) -> None:
        super().__init__()
        hidden = max(1, (shape.channels + shape.length) // bottleneck)
        self.affine = per_level(
            shape,
            lambda: nn.Sequential(
                nn.Linear(shape.channels + shape.length, hidden, bias=False),
                nn.ReLU(),
                nn.Linear(hidden, 2 * shape.channels, bias=False),
            ),
        )

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """Scale and shift every channel by what vector and image say."""
        return OrderedDict((level, self._transform(level, x, clinical)) for level, x in maps.items())

    def _transform(self, level: str, x: Tensor, clinical: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3))  # (B, C)
        alpha, beta = self.affine[level](torch.cat((pooled, clinical), dim=1)).chunk(2, dim=1)
        return over_cells(alpha) * x + over_cells(beta)


class MMTM(nn.Module):
    """Multimodal transfer module, towards the image: the squeezed map and the vector gate the map's channels.

    Z = ReLU(W [mean of x over its cells, vector] + b) of ⌊2 (C + K) / ratio⌋ values; x is multiplied by σ(W_x Z + b_x).
    The vector is its own squeeze. Its gate is left out: the clinical values are read by nothing after this. At the
    start the gate halves the maps, for the sigmoid has no factor 2 in the authors' code.

    Vaezi Joze, Shaban, Iuzzolino and Koishida: MMTM: Multimodal transfer module for CNN fusion, CVPR 2020.

    Args:
        ratio: 4 as in the authors' code.
    """

    def __init__(self, shape: FusionShape, ratio: int = 4) -> None:
        super().__init__()
        joint = shape.channels + shape.length
        squeezed = max(1, 2 * joint // ratio)
        self.squeeze = per_level(shape, lambda: nn.Sequential(nn.Linear(joint, squeezed), nn.ReLU()))
        self.excite = per_level(shape, lambda: nn.Sequential(nn.Linear(squeezed, shape.channels), nn.Sigmoid()))

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """Multiply every channel by its gate."""
        return OrderedDict((level, self._gate(level, x, clinical)) for level, x in maps.items())

    def _gate(self, level: str, x: Tensor, clinical: Tensor) -> Tensor:
        z = self.squeeze[level](torch.cat((x.mean(dim=(2, 3)), clinical), dim=1))
        return x * over_cells(self.excite[level](z))


class GatedSum(nn.Module):
    """Gated multimodal unit at every cell: h = z ⊙ tanh(a) + (1 − z) ⊙ tanh(b), with the gate z = σ(W [a, b]).

    a and b are the map's cell and the vector, each after BatchNorm and a linear map to C values without bias; the gate
    reads them before tanh.

    Arevalo, Solorio, Montes-y-Gómez and González: Gated multimodal units for information fusion, arXiv:1702.01992.
    """

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        c, k = shape.channels, shape.length
        self.image = per_level(shape, lambda: nn.Sequential(BatchNorm(c), nn.Conv2d(c, c, 1, bias=False)))
        self.clinical = per_level(shape, lambda: nn.Sequential(VectorNorm(k), nn.Linear(k, c, bias=False)))
        self.gate = per_level(shape, lambda: nn.Conv2d(2 * c, c, 1, bias=False))

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """Weigh map and vector against each other, channel by channel and cell by cell."""
        return OrderedDict((level, self._unit(level, x, clinical)) for level, x in maps.items())

    def _unit(self, level: str, x: Tensor, clinical: Tensor) -> Tensor:
        a = self.image[level](x)  # (B, C, h, w)
        b = over_cells(self.clinical[level](clinical)).expand_as(a)
        z = torch.sigmoid(self.gate[level](torch.cat((a, b), dim=1)))
        return z * torch.tanh(a) + (1 - z) * torch.tanh(b)


class CrossAttention(nn.Module):
    """Every cell of a map attends to the tokens of the clinical columns: x + W_o softmax(Q Kᵀ / √d_head) V.

    Queries are the cells after LayerNorm over their channels, keys and values the tokens, which TIP's layer does the
    other way about (its queries are the table's). Its self-attention and MLP are left out.

    Du, Zheng, Wang, Bai, O'Regan and Qin: TIP: Tabular-image pre-training for multimodal classification with incomplete
    data, ECCV 2024. The tokens: ``ClinicalTokens``.

    Args:
        heads: 8 as in both papers; clinical_input_channels is a multiple of it.
    """

    def __init__(self, shape: FusionShape, heads: int = 8) -> None:
        super().__init__()
        if heads < 1 or shape.length % heads:
            raise SpecError(
                f"clinical_input_channels = {shape.length} is no multiple of the {heads} heads of cross_attention",
                hint='give another clinical_input_channels, or fusion = { use = "cross_attention", heads = … }',
            )
        c, k = shape.channels, shape.length
        self.heads = heads
        self.norm = per_level(shape, lambda: nn.LayerNorm(c))
        self.query = per_level(shape, lambda: nn.Linear(c, k))
        self.key = per_level(shape, lambda: nn.Linear(k, k))
        self.value = per_level(shape, lambda: nn.Linear(k, k))
        self.out = per_level(shape, lambda: nn.Linear(k, c))

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """``clinical`` holds tokens (B, T, K)."""
        return OrderedDict((level, self._attend(level, x, clinical)) for level, x in maps.items())

    def _attend(self, level: str, x: Tensor, tokens: Tensor) -> Tensor:
        cells = x.flatten(2).transpose(1, 2)  # (B, h·w, C)
        query = self._split(self.query[level](self.norm[level](cells)))
        key, value = self._split(self.key[level](tokens)), self._split(self.value[level](tokens))
        weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(dim=-1)  # (B, heads, h·w, T)
        found: Tensor = self.out[level]((weights @ value).transpose(1, 2).flatten(2))  # (B, h·w, C)
        return x + found.transpose(1, 2).reshape(x.shape)

    def _split(self, values: Tensor) -> Tensor:
        """(B, n, K) to (B, heads, n, K / heads)."""
        return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)


class Late(nn.Module):
    """Late fusion: a linear head on the vector alone says how likely each finding is, whatever box is looked at.

    Its logits are added to the class logits of every box; the background's stays. MedFuse's late average takes the
    mean of the two models' probabilities instead, which scores of many boxes per image do not have.

    Hayat, Geras and Shamout: MedFuse: Multi-modal fusion with clinical time-series data and chest X-ray images, 2022,
    arXiv:2207.07027.
    """

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        self.head = nn.Linear(shape.length, shape.findings)

    def forward(self, maps: Maps, clinical: Tensor) -> Maps:
        """The maps as they are."""
        return maps

    def prior(self, clinical: Tensor) -> Tensor:
        """(B, K) to logits (B, findings)."""
        logits: Tensor = self.head(clinical)
        return logits
