"""The maps that boxes are pooled from: torchvision's ``MultiScaleRoIAlign`` where the sizes are known before.

It would wait for a GPU once per map to learn how many boxes belong there, and RoIAlign would copy and cast every map
each time it reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from mmad.detector.boxes import FlatBoxes, read, rows_of, upcast

#: Maps the boxes are pooled from; the pooled level of a pyramid is the RPN's alone.
PYRAMID_MAPS = ("0", "1", "2", "3")


@dataclass(frozen=True)
class PooledMaps:
    """Feature maps as RoIAlign reads them.

    Args:
        maps: (B, C, h, w) each, in at least single precision and one row after the other.
        dtype: of what is pooled: that of the maps as the network made them.
        side: pixels per side of the images.
    """

    maps: list[Tensor]
    dtype: torch.dtype
    side: int

    @classmethod
    def of(cls, features: Mapping[str, Tensor], side: int) -> PooledMaps:
        """Of one map, or of the levels of a pyramid that boxes are pooled from."""
        maps = [features[name] for name in PYRAMID_MAPS if name in features]
        return cls([upcast(m).contiguous() for m in maps], maps[0].dtype, side)

    def levels(self, boxes: Tensor) -> Tensor | None:
        """The map (R,) that each of ``boxes`` (R, 4) is pooled from (arXiv:1612.03144, eq. 1); None for one map."""
        if len(self.maps) == 1:
            return None
        first, *_, last = (round(-math.log2(self._scale(m))) for m in self.maps)
        levels: Tensor = LevelMapper(first, last)([boxes])
        return levels

    def count(self, levels: Tensor | None, chosen: Tensor) -> Tensor:
        """How many of the ``chosen`` boxes (R,) belong to each map, (maps,); (0,) for one map."""
        if levels is None:
            return chosen.new_zeros(0, dtype=torch.int64)
        return torch.stack([(chosen & (levels == i)).sum() for i in range(len(self.maps))])

    def pool(self, boxes: FlatBoxes, cells: int) -> Tensor:
        """The features (R, C, cells, cells) of ``boxes``."""
        rois = torch.cat((boxes.image[:, None].to(boxes.flat.dtype), boxes.flat), dim=1)
        if len(self.maps) == 1:
            return self._align(self.maps[0], rois, cells)
        levels, per_level = boxes.levels, boxes.per_level
        if levels is None or per_level is None:
            levels = self.levels(boxes.flat)
            assert levels is not None
            (per_level,) = read(self.count(levels, torch.ones_like(levels, dtype=torch.bool)))
        found = rois.new_zeros((len(rois), self.maps[0].shape[1], cells, cells), dtype=self.dtype)
        for level, (features, count) in enumerate(zip(self.maps, per_level, strict=True)):
            rows = rows_of(levels == level, count)
            found[rows] = self._align(features, rois[rows], cells)
        return found

    def _align(self, features: Tensor, rois: Tensor, cells: int) -> Tensor:
        found: Tensor = roi_align(features, rois, cells, self._scale(features), sampling_ratio=2)
        return found.to(self.dtype)

    def _scale(self, features: Tensor) -> float:
        """Cells of a map per pixel of the image: a power of two."""
        return 2.0 ** round(math.log2(features.shape[-2] / self.side))
