"""How far an epoch's training has come, so that it can go on from the middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmad.training.collector import Collector


class Mean:
    """Means over images of the loss components and of their sums."""

    def __init__(self, sums: Mapping[str, float] | None = None, images: int = 0) -> None:
        self.sums: dict[str, float] = dict(sums or {})
        self.images = images

    def add(self, losses: Mapping[str, float], images: int) -> None:
        self.images += images
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * images

    def result(self) -> dict[str, float]:
        return {name: value / max(self.images, 1) for name, value in self.sums.items()}


@dataclass
class Running:
    """What the training pass of an epoch has gathered after ``step`` batches.

    ``seconds`` and ``peak_memory`` are those of the stretches of the epoch before this one.
    """

    step: int = 0
    mean: Mean = field(default_factory=Mean)
    collector: Collector = field(default_factory=Collector)
    seconds: float = 0.0
    peak_memory: int = 0

    def facts(self, *, seconds: float, peak_memory: int) -> dict[str, Any]:
        """Plain JSON to go on from; ``seconds`` and ``peak_memory`` are the whole epoch's up to now."""
        return {
            "step": self.step,
            "sums": self.mean.sums,
            "images": self.mean.images,
            "seconds": seconds,
            "peak_memory": peak_memory,
            "positions": self.collector.positions,
            "side": self.collector.side,
        }

    def tensors(self) -> dict[str, Any]:
        """The detections and boxes gathered so far, on the CPU."""
        return {"found": _stacked(self.collector.found), "given": _stacked(self.collector.given)}

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Any], device: torch.device) -> Running:
        """Go on from what ``facts`` and ``tensors`` gave; detections go to ``device``."""
        collector = Collector()
        collector.positions, collector.side = list(facts["positions"]), facts["side"]
        collector.found = _parted(tensors["found"], device)
        collector.given = _parted(tensors["given"], torch.device("cpu"))
        return cls(
            facts["step"], Mean(facts["sums"], facts["images"]), collector, facts["seconds"], facts["peak_memory"]
        )


def _stacked(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of tensors, one per image, as one tensor per name; ``counts`` says how many belong to each image."""
    if not rows:
        return {}
    joined = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0]}
    return joined | {"counts": torch.tensor([len(row["boxes"]) for row in rows])}


def _parted(joined: Mapping[str, Tensor], device: torch.device) -> list[dict[str, Tensor]]:
    if not joined:
        return []
    counts = joined["counts"].tolist()
    parts = {name: torch.split(value.to(device), counts) for name, value in joined.items() if name != "counts"}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(counts))]
